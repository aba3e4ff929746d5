//! Probes that take the way of clients' packets find out what clients would run into.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Decap, Farm, HttpServer, Namespace, Network, Service, UdpServer, eventually, get_from,
};
use serde_json::Value;

const BACKENDS: u8 = 2;
/// The backend that things happen to.
const VICTIM: u8 = 1;
const VIPS: [IpAddr; 2] = [IpAddr::V4(Network::VIP), IpAddr::V6(Network::VIP6)];
/// The balancer's addresses, where tunnels begin.
const BALANCER: [&str; 2] = ["10.2.0.1", "fd00:2::1"];
const MTU: u32 = 1_552;

const CHECK: &str = r#"
path = "/health"
interval = "100ms"
timeout = "1s"
unhealthy_threshold = 2"#;

/// A network whose backends have the VIPs.
fn network() -> Network {
    let network = Network::new(Arms::One, BACKENDS);
    network.answer_directly();
    network.widen(MTU);
    network
}

fn service(forwarding: &str, vip: IpAddr, check: &str) -> String {
    let service = Service::tcp("web", vip, &[80])
        .forwarding(forwarding)
        .backends(BACKENDS, None)
        .health(check);
    service.to_string()
}

fn await_health(balancer: &Balancer<'_>, number: u8, health: &str) {
    eventually(&format!("backend {number} is {health}"), || {
        let backends: Vec<Value> = balancer.json(&["backend", "list"]);
        let name = Network::backend_name(number);
        let backend = backends.into_iter().find(|backend| backend["name"] == *name);
        (backend.unwrap()["health"] == health).then_some(())
    });
}

/// Who answers the client at 20 ports from `first` on. Every request must be answered.
fn who_answers(network: &Network, vip: IpAddr, first: u16) -> BTreeSet<String> {
    let clients = (first..first + 20).map(|port| SocketAddr::new(Network::client_of(vip), port));
    let answers = clients.map(|client| get_from(&network.client, client, SocketAddr::new(vip, 80), "/"));
    let names = answers.map(|answer| answer.unwrap().json::<Value>()["server"].as_str().unwrap().to_owned());
    names.collect()
}

fn victim(network: &Network) -> &Namespace {
    &network.backends[usize::from(VICTIM)]
}

fn names(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<String> {
    numbers.into_iter().map(Network::backend_name).collect()
}

/// What is wrong with the victim is found out, by HTTP, and that it was mended.
fn is_found_out<T>(forwarding: &str, network: &Network, vip: IpAddr, mend: impl FnOnce() -> T) {
    let _servers: Farm<HttpServer> = Farm::http(network, 80);
    let services = service(forwarding, vip, &format!("kind = \"http\"{CHECK}"));
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    await_health(&balancer, 0, "up");
    await_health(&balancer, VICTIM, "down");
    assert_eq!(who_answers(network, vip, 40_000), names([0]));

    let _mended = mend();
    await_health(&balancer, VICTIM, "up");
    assert_eq!(who_answers(network, vip, 41_000), names(0..BACKENDS));
    await_health(&balancer, 0, "up");
}

#[test]
fn a_dsr_backend_without_the_vip_is_down() {
    for vip in VIPS {
        let network = network();
        let address = format!("address delete {vip} dev lo");
        victim(&network).ip(&address);
        is_found_out("dsr", &network, vip, || {
            victim(&network).ip(&address.replace("delete", "add"));
        });
    }
}

fn a_backend_that_takes_nothing_out_is_down(forwarding: &str) {
    for vip in VIPS {
        let network = network();
        let directory = tempfile::tempdir().unwrap();
        let start = |number: u8| {
            let host = &network.backends[usize::from(number)];
            Decap::start(host, &BALANCER, &directory.path().join(number.to_string()))
        };
        let _decap = start(0);
        is_found_out(forwarding, &network, vip, || start(VICTIM));
    }
}

#[test]
fn an_ipip_backend_that_takes_nothing_out_of_the_tunnel_is_down() {
    a_backend_that_takes_nothing_out_is_down("ipip");
}

#[test]
fn a_gue_backend_that_takes_nothing_out_of_the_tunnel_is_down() {
    a_backend_that_takes_nothing_out_is_down("gue");
}

#[test]
fn a_backend_that_is_asked_at_its_own_address_needs_no_vip() {
    for vip in VIPS {
        let network = network();
        let _servers = Farm::http(&network, 80);
        victim(&network).ip(&format!("address delete {vip} dev lo"));
        let services = service("dsr", vip, &format!("kind = \"http\"\nvia = \"address\"{CHECK}"));
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
        await_health(&balancer, VICTIM, "up");
    }
}

#[test]
fn a_datagram_takes_the_way_too() {
    for vip in VIPS {
        let network = network();
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path();
        let _decap = Decap::start(&network.backends[0], &BALANCER, &logs.join("decap"));
        // They listen at the VIP alone, and answer from there.
        let _servers: Vec<_> = (0..BACKENDS)
            .map(|number| {
                let name = Network::backend_name(number);
                let host = &network.backends[usize::from(number)];
                UdpServer::start_at(host, &name, SocketAddr::new(vip, 80), &logs.join(&name))
            })
            .collect();
        let service = Service::udp("echo", vip, &[80])
            .forwarding("gue")
            .backends(BACKENDS, None)
            .health("kind = \"udp\"\nexpect = \"b\"\ninterval = \"100ms\"\ntimeout = \"1s\"\nunhealthy_threshold = 2");
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
        await_health(&balancer, 0, "up");
        await_health(&balancer, VICTIM, "down");
    }
}

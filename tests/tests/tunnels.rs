//! Real clients and servers behind `forwarding = "ipip"` and `"gue"`: backends take packets out of the tunnel with
//! `balancer decap`, and answer clients directly.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Decap, Farm, Namespace, Network, Service, assert_bodies_arrive_whole, eventually, get, get_from,
    program,
};
use serde_json::Value;
use tempfile::TempDir;

const BACKENDS: u8 = 2;
/// Clients: with so many, no backend of two is likely to be missed, once in about 10^6 runs.
const CLIENTS: u16 = 20;
/// Length of a body in bytes.
const LENGTH: u64 = 30_000_000;
/// A frame of the client's in the largest tunnel: 52 bytes more than the 1,500 that it sends.
const MTU: u32 = 1_552;
/// The balancer's addresses, where tunnels begin.
const BALANCER: [&str; 2] = ["10.2.0.1", "fd00:2::1"];

const V4: IpAddr = IpAddr::V4(Network::VIP);
const V6: IpAddr = IpAddr::V6(Network::VIP6);

/// A network whose backends can be reached through tunnels.
fn network() -> Network {
    let network = Network::new(Arms::One, BACKENDS);
    network.answer_directly();
    network.widen(MTU);
    network
}

/// A service on `vip` whose backends have addresses of the family of `outer`.
fn service(forwarding: &str, vip: IpAddr, outer: IpAddr) -> Service {
    let service = Service::tcp("web", vip, &[80]).forwarding(forwarding);
    (0..BACKENDS).fold(service, |service, number| {
        let address = Network::backend_of(outer, number).to_string();
        service.backend(&Network::backend_name(number), &address)
    })
}

/// One for each backend, that takes packets from the addresses in `allowed`.
fn decapsulators<'a>(network: &'a Network, allowed: &[&str], directory: &TempDir) -> Vec<Decap<'a>> {
    let hosts = network.backends.iter().enumerate();
    hosts
        .map(|(number, host)| Decap::start(host, allowed, &directory.path().join(number.to_string())))
        .collect()
}

/// Sends clients and large bodies through a tunnel.
fn traffic_arrives(forwarding: &str, vip: IpAddr, outer: IpAddr) {
    let network = network();
    let directory = tempfile::tempdir().unwrap();
    let _servers = Farm::http(&network, 80);
    let decapsulators = decapsulators(&network, &BALANCER, &directory);
    let services = service(forwarding, vip, outer).to_string();
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    clients_are_answered(&network, &balancer, vip);
    assert_bodies_arrive_whole(&network.client, SocketAddr::new(vip, 80), LENGTH);

    let fate = if forwarding == "gue" { "gue" } else { "ipip" };
    // The last connection may still be about to close.
    eventually("every packet that is sent is taken out", || {
        let services: Value = balancer.json(&["service", "list"]);
        let taken_out: u64 = decapsulators.iter().map(|decap| decap.count(fate)).sum();
        (services[0]["packets"] == taken_out).then_some(())
    });
    for decap in decapsulators {
        let log = decap.stop();
        assert!(log.contains("stopped"), "{log}");
    }
    let left: Vec<_> = network.backends.iter().filter_map(|host| host.xdp("eth0")).collect();
    assert_eq!(left, [], "what took packets out is gone");
}

fn clients_are_answered(network: &Network, balancer: &Balancer<'_>, vip: IpAddr) {
    let mut answered = HashSet::new();
    for port in 40_000..40_000 + CLIENTS {
        let client = SocketAddr::new(Network::client_of(vip), port);
        let lookup: Value = balancer.json(&["lookup", "web", &client.to_string()]);
        let reply = get_from(&network.client, client, SocketAddr::new(vip, 80), "/").unwrap();
        let reply: HashMap<String, String> = reply.json();
        assert_eq!(reply["client"], client.to_string());
        assert_eq!(lookup["backend"], reply["server"].as_str());
        answered.insert(reply["server"].clone());
    }
    assert_eq!(answered.len(), usize::from(BACKENDS), "{answered:?}");
}

#[test]
fn ipv4_arrives_by_ipip_over_ipv4() {
    traffic_arrives("ipip", V4, V4);
}

#[test]
fn ipv4_arrives_by_ipip_over_ipv6() {
    traffic_arrives("ipip", V4, V6);
}

#[test]
fn ipv6_arrives_by_ipip_over_ipv4() {
    traffic_arrives("ipip", V6, V4);
}

#[test]
fn ipv6_arrives_by_ipip_over_ipv6() {
    traffic_arrives("ipip", V6, V6);
}

#[test]
fn ipv4_arrives_by_gue_over_ipv4() {
    traffic_arrives("gue", V4, V4);
}

#[test]
fn ipv4_arrives_by_gue_over_ipv6() {
    traffic_arrives("gue", V4, V6);
}

#[test]
fn ipv6_arrives_by_gue_over_ipv4() {
    traffic_arrives("gue", V6, V4);
}

#[test]
fn ipv6_arrives_by_gue_over_ipv6() {
    traffic_arrives("gue", V6, V6);
}

#[test]
fn packets_from_elsewhere_are_not_taken_out() {
    let network = network();
    let directory = tempfile::tempdir().unwrap();
    let _servers = Farm::http(&network, 80);
    let services = service("gue", V4, V4).to_string();
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    let decapsulators = decapsulators(&network, &["10.2.0.2"], &directory);
    // Somebody else's word for a packet that was never answered.
    get(&network.client, SocketAddr::new(V4, 80), "/").unwrap_err();
    // The last packet may still be on its way.
    eventually("every packet is refused", || {
        let services: Value = balancer.json(&["service", "list"]);
        let refused: u64 = decapsulators
            .iter()
            .map(|decap| decap.count("source_not_allowed"))
            .sum();
        (refused > 0 && services[0]["packets"] == refused).then_some(())
    });
}

#[test]
fn a_configured_source_is_where_tunnels_begin() {
    let network = network();
    let directory = tempfile::tempdir().unwrap();
    let _servers = Farm::http(&network, 80);
    network.balancer.ip("address add 10.2.0.99/32 dev lo");
    let services = service("gue", V4, V4).to_string();
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &services);
    let file = std::fs::read_to_string(balancer.config()).unwrap();
    let section = "[dataplane]\ntunnel_source = { v4 = \"10.2.0.99\" }";
    std::fs::write(balancer.config(), file.replace("[dataplane]", section)).unwrap();
    balancer.run();
    let _decapsulators = decapsulators(&network, &["10.2.0.99"], &directory);
    clients_are_answered(&network, &balancer, V4);
}

/// `balancer decap check` on a backend.
fn check(host: &Namespace, vip: IpAddr, forwarding: &str) -> (bool, Vec<Value>) {
    let mut command = host.command(program("balancer"));
    let vip = vip.to_string();
    let output = command
        .args(["decap", "check", "--vip", &vip, "--interface", "eth0"])
        .args(["--forwarding", forwarding, "-o", "json"])
        .output()
        .unwrap();
    let findings = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), findings)
}

#[test]
fn a_backend_whose_lacks_are_mended_as_told_lacks_nothing() {
    for (vip, forwarding) in [(V4, "dsr"), (V6, "dsr"), (V4, "gue"), (V6, "ipip")] {
        let network = Network::new(Arms::One, 1);
        let host = &network.backends[0];
        let directory = tempfile::tempdir().unwrap();
        let mut decap = None;
        let (ready, findings) = check(host, vip, forwarding);
        assert!(!ready, "{findings:#?}");
        for finding in findings.iter().filter(|finding| finding["level"] == "missing") {
            let mend = finding["mend"].as_str().unwrap();
            if mend.starts_with("balancer decap") {
                decap = Some(Decap::start(host, &BALANCER, &directory.path().join("log")));
            } else {
                let done = host.command("sh").args(["-c", mend]).status().unwrap();
                assert!(done.success(), "{mend}");
            }
        }
        assert_eq!(decap.is_some(), forwarding != "dsr");
        let (ready, findings) = check(host, vip, forwarding);
        assert!(ready, "{findings:#?}");
    }
}

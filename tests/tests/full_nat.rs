//! Backends that know nothing of the clients: they answer the balancer, in whatever IP version they have.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Connection, Farm, Network, Service, UdpClient, assert_bodies_arrive_whole, eventually, get,
    get_from,
};
use rustix::process::Signal;
use serde_json::Value;

const BACKENDS: u8 = 2;

/// The balancer host beside the backends, with one arm as with two.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const BALANCER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);

/// Where the backends' port is, and where the servers listen.
const PORT: u16 = 8080;

/// Every way from one IP version to one: the VIP and an address of the backends' version.
const CROSSINGS: [(IpAddr, IpAddr); 4] = [
    (IpAddr::V4(Network::VIP), IpAddr::V4(Network::VIP)),
    (IpAddr::V4(Network::VIP), IpAddr::V6(Network::VIP6)),
    (IpAddr::V6(Network::VIP6), IpAddr::V4(Network::VIP)),
    (IpAddr::V6(Network::VIP6), IpAddr::V6(Network::VIP6)),
];

/// A network whose backends have no route to the clients.
fn network(arms: Arms, backends: u8) -> Network {
    let network = Network::new(arms, backends);
    for backend in &network.backends {
        backend.ip("route delete default");
        backend.ip("-6 route delete default");
    }
    network
}

fn service(protocol: &str, vip: IpAddr, backends: IpAddr, count: u8) -> Service {
    Service::new("web", protocol, vip, &[80])
        .key("forwarding = \"full-nat\"")
        .key(&format!("source_addresses = [\"{BALANCER}\", \"{BALANCER6}\"]"))
        .backends_of(backends, count, PORT)
}

fn start<'a>(network: &'a Network, service: &Service) -> Balancer<'a> {
    Balancer::start(&network.balancer, &network.interfaces, &service.to_string())
}

/// The backend that answered, after making sure that it saw the balancer as its client.
fn answered(server: &str, client: &str, backends: IpAddr) -> String {
    let client: SocketAddr = client.parse().unwrap();
    let expected: IpAddr = if backends.is_ipv4() {
        BALANCER.into()
    } else {
        BALANCER6.into()
    };
    assert_eq!(client.ip().to_canonical(), expected);
    assert!((1_024..=32_767).contains(&client.port()), "{client}");
    server.to_owned()
}

fn ask_http(network: &Network, client: SocketAddr, vip: SocketAddr, backends: IpAddr) -> String {
    let reply: HashMap<String, String> = get_from(&network.client, client, vip, "/").unwrap().json();
    answered(&reply["server"], &reply["client"], backends)
}

fn ask_udp(network: &Network, client: SocketAddr, vip: SocketAddr, backends: IpAddr) -> String {
    let client = UdpClient::new(&network.client, client).unwrap();
    let reply = client.ask(vip, b"who?").unwrap();
    let (server, seen) = reply.split_once(' ').unwrap();
    answered(server, seen, backends)
}

type Ask = fn(&Network, client: SocketAddr, vip: SocketAddr, backends: IpAddr) -> String;

/// Clients of either IP version reach backends of either, each as `lookup` says.
fn clients_reach_backends(arms: Arms, protocol: &str, ask: Ask) {
    let network = network(arms, BACKENDS);
    let _http = (protocol == "tcp").then(|| Farm::http(&network, PORT));
    let _udp = (protocol == "udp").then(|| Farm::udp(&network, PORT));
    for (vip, backends) in CROSSINGS {
        let balancer = start(&network, &service(protocol, vip, backends, BACKENDS));
        let mut reached: HashMap<String, u32> = HashMap::new();
        for port in 40_000..40_030 {
            let client = SocketAddr::new(Network::client_of(vip), port);
            let server = ask(&network, client, SocketAddr::new(vip, 80), backends);
            let lookup: Value = balancer.json(&["lookup", "web", &client.to_string()]);
            assert_eq!(lookup["backend"], server, "{lookup}");
            assert_eq!(lookup["reason"], "flow");
            *reached.entry(server).or_default() += 1;
        }
        assert_eq!(reached.len(), usize::from(BACKENDS), "{vip} {backends}: {reached:?}");
    }
}

#[test]
fn http_clients_reach_backends_of_either_ip_version_with_one_arm() {
    clients_reach_backends(Arms::One, "tcp", ask_http);
}

#[test]
fn http_clients_reach_backends_of_either_ip_version_with_two_arms() {
    clients_reach_backends(Arms::Two, "tcp", ask_http);
}

#[test]
fn udp_clients_reach_backends_of_either_ip_version_with_one_arm() {
    clients_reach_backends(Arms::One, "udp", ask_udp);
}

#[test]
fn udp_clients_reach_backends_of_either_ip_version_with_two_arms() {
    clients_reach_backends(Arms::Two, "udp", ask_udp);
}

/// Sends a large body each way over one connection, in every crossing.
#[test]
fn large_bodies_arrive_whole_in_either_ip_version() {
    const LENGTH: u64 = 10_000_000;
    let network = network(Arms::Two, 1);
    let _servers = Farm::http(&network, PORT);
    for (vip, backends) in CROSSINGS {
        let _balancer = start(&network, &service("tcp", vip, backends, 1));
        assert_bodies_arrive_whole(&network.client, SocketAddr::new(vip, 80), LENGTH);
    }
}

#[test]
fn connections_live_on_and_new_ones_begin_while_the_daemon_is_away() {
    let network = network(Arms::Two, BACKENDS);
    let _servers = Farm::http(&network, PORT);
    let (vip, backends) = (IpAddr::from(Network::VIP6), IpAddr::from(Network::VIP));
    let mut balancer = start(&network, &service("tcp", vip, backends, BACKENDS));
    let server = SocketAddr::new(vip, 80);
    let open = || {
        let mut connection = Connection::open(&network.client, None, server).unwrap();
        let seen = seen(&mut connection);
        (connection, seen)
    };
    let mut connections: Vec<_> = std::iter::repeat_with(open).take(10).collect();
    balancer.end(Signal::KILL);
    connections.push(open());
    let assert_served = |connections: &mut Vec<(Connection, Value)>| {
        for (connection, before) in connections {
            assert_eq!(seen(connection), *before);
        }
    };
    assert_served(&mut connections);
    balancer.run();
    assert_served(&mut connections);
}

/// What the server says of itself and its client.
fn seen(connection: &mut Connection) -> Value {
    connection.get("/").unwrap().json()
}

#[test]
fn the_hosts_own_connections_and_health_probes_from_a_source_address_are_its_own() {
    let network = network(Arms::Two, 1);
    let _servers = Farm::http(&network, PORT);
    for (vip, backends) in CROSSINGS {
        let service =
            service("tcp", vip, backends, 1).health("kind = \"http\"\npath = \"/health\"\ninterval = \"20ms\"");
        let balancer = start(&network, &service);
        eventually("the backend is up", || {
            let listed: Value = balancer.json(&["backend", "list"]);
            (listed[0]["health"] == "up").then_some(())
        });
        assert!(get(&network.client, SocketAddr::new(vip, 80), "/").is_ok());
        let backend = SocketAddr::new(Network::backend_of(backends, 0), PORT);
        let own: Value = get(&network.balancer, backend, "/").unwrap().json();
        assert_eq!(own["server"], "b0");
    }
}

//! Where clients go behind `forwarding = "nat"`, and whether `lookup` tells the truth about it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, UdpClient, get_from};
use serde_json::{Value, json};

const BACKENDS: u8 = 3;
/// Requests to each VIP: with so few, no backend of three is likely to be missed, once in about 10^10 runs and 10^3.
const REQUESTS: u16 = 60;
const REQUESTS6: u16 = 20;

/// What a backend says: its name and the client that it sees.
type Answer = (String, String);

/// Asks the service at `server` from `client`.
type Ask = fn(&Network, client: SocketAddr, server: SocketAddr) -> Answer;

fn ask_http(network: &Network, client: SocketAddr, server: SocketAddr) -> Answer {
    let reply = get_from(&network.client, client, server, "/").unwrap();
    let reply: HashMap<String, String> = reply.json();
    (reply["server"].clone(), reply["client"].clone())
}

fn ask_udp(network: &Network, client: SocketAddr, server: SocketAddr) -> Answer {
    let reply = UdpClient::new(&network.client, client)
        .unwrap()
        .ask(server, b"who?")
        .unwrap();
    let (name, client) = reply.split_once(' ').unwrap();
    (name.to_owned(), client.to_owned())
}

/// Sends clients to a VIP: each is answered by the backend that `lookup` names before and after, and is seen there under
/// its own address and port; no backend is left out.
fn clients_spread_as_lookup_says(network: &Network, balancer: &Balancer<'_>, vip: IpAddr, requests: u16, ask: Ask) {
    let service = if vip.is_ipv4() { "four" } else { "six" };
    let lookup = |client: &SocketAddr| -> Value { balancer.json(&["lookup", service, &client.to_string()]) };
    let clients = (0..requests).map(|number| SocketAddr::new(Network::client_of(vip), 40_000 + number));

    let mut answered: HashMap<String, u32> = HashMap::new();
    for client in clients {
        let before = lookup(&client);
        let (name, seen) = ask(network, client, SocketAddr::new(vip, 80));
        let after = lookup(&client);
        assert_eq!(seen, client.to_string());
        assert_eq!(before["backend"], name, "before: {before}");
        assert_eq!(before["reason"], "maglev");
        assert_eq!(after["backend"], name, "after: {after}");
        assert_eq!(after["reason"], "flow");
        assert_eq!(after["slot"], before["slot"]);
        *answered.entry(name).or_default() += 1;
    }
    assert_eq!(answered.len(), usize::from(BACKENDS), "{answered:?}");
}

fn assert_native_on(balancer: &Balancer<'_>, interfaces: &[&str]) {
    let status: Value = balancer.json(&["status"]);
    let modes: Vec<_> = status["dataplane"]["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interface| json!([interface["name"], interface["mode"]]))
        .collect();
    let expected: Vec<_> = interfaces.iter().map(|name| json!([name, "native"])).collect();
    assert_eq!(modes, expected);
}

fn http_clients_spread(arms: Arms) {
    let network = Network::new(arms, BACKENDS);
    let _servers = Farm::http(&network, 8080);
    spread(&network, "tcp", ask_http);
}

fn udp_clients_spread(arms: Arms) {
    let network = Network::new(arms, BACKENDS);
    let _servers = Farm::udp(&network, 8080);
    spread(&network, "udp", ask_udp);
}

fn spread(network: &Network, protocol: &str, ask: Ask) {
    let four = Service::new("four", protocol, Network::VIP, &[80]).backends(BACKENDS, 8080);
    let six = Service::new("six", protocol, Network::VIP6, &[80]).backends(BACKENDS, 8080);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{four}{six}"));
    assert_native_on(&balancer, &network.interfaces);
    clients_spread_as_lookup_says(network, &balancer, Network::VIP.into(), REQUESTS, ask);
    clients_spread_as_lookup_says(network, &balancer, Network::VIP6.into(), REQUESTS6, ask);
}

#[test]
fn http_clients_spread_as_lookup_says_with_one_arm() {
    http_clients_spread(Arms::One);
}

#[test]
fn http_clients_spread_as_lookup_says_with_two_arms() {
    http_clients_spread(Arms::Two);
}

#[test]
fn udp_clients_spread_as_lookup_says_with_one_arm() {
    udp_clients_spread(Arms::One);
}

#[test]
fn udp_clients_spread_as_lookup_says_with_two_arms() {
    udp_clients_spread(Arms::Two);
}

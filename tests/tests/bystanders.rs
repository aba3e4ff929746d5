//! What is not the balancer's business goes on as if there was none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Farm, HttpServer, Network, Service, get, get_from, ping};
use serde_json::Value;

/// The balancer host beside the backends, with one arm as with two.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const BALANCER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);

/// A network with a service on both VIPs that is in use, and a server on the balancer host that is none of it.
fn beside_a_balancer_in_use(arms: Arms, test: impl Fn(&Network)) {
    let network = Network::new(arms, 1);
    let _servers = Farm::http(&network, 8080);
    let directory = tempfile::tempdir().unwrap();
    let _own = HttpServer::start(
        &network.balancer,
        "host",
        BALANCER.into(),
        22,
        &directory.path().join("host"),
    );
    let four = Service::tcp("four", Network::VIP, &[80]).backends(1, 8080);
    let six = Service::tcp("six", Network::VIP6, &[80]).backends(1, 8080);
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{four}{six}"));
    for vip in [IpAddr::from(Network::VIP), Network::VIP6.into()] {
        assert_eq!(who(&network, SocketAddr::new(vip, 80)), "b0");
    }
    test(&network);
}

/// Who answers the client.
fn who(network: &Network, server: SocketAddr) -> String {
    let reply: Value = get(&network.client, server, "/").unwrap().json();
    reply["server"].as_str().unwrap().to_owned()
}

fn a_backend_can_be_reached_directly(arms: Arms) {
    beside_a_balancer_in_use(arms, |network| {
        for backend in [IpAddr::from(Network::backend(0)), Network::backend6(0).into()] {
            // Not a port that a flow to the VIP may have had: the backend could not tell the two apart.
            let client = SocketAddr::new(Network::client_of(backend), 30_000);
            let reply = get_from(&network.client, client, SocketAddr::new(backend, 8080), "/").unwrap();
            let reply: Value = reply.json();
            assert_eq!(reply["server"], "b0");
            assert_eq!(reply["client"], client.to_string());
        }
    });
}

fn the_host_can_be_reached(arms: Arms) {
    beside_a_balancer_in_use(arms, |network| {
        for host in [
            IpAddr::from(BALANCER),
            BALANCER6.into(),
            Network::VIP.into(),
            Network::VIP6.into(),
        ] {
            assert_eq!(who(network, SocketAddr::new(host, 22)), "host", "{host}");
        }
    });
}

fn everybody_answers_pings(arms: Arms) {
    beside_a_balancer_in_use(arms, |network| {
        let addresses: [IpAddr; 6] = [
            Network::VIP.into(),
            Network::VIP6.into(),
            BALANCER.into(),
            BALANCER6.into(),
            Network::backend(0).into(),
            Network::backend6(0).into(),
        ];
        for address in addresses {
            ping(&network.client, address).unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    });
}

#[test]
fn a_backend_can_be_reached_directly_with_one_arm() {
    a_backend_can_be_reached_directly(Arms::One);
}

#[test]
fn a_backend_can_be_reached_directly_with_two_arms() {
    a_backend_can_be_reached_directly(Arms::Two);
}

#[test]
fn the_host_and_other_ports_of_the_vip_can_be_reached_with_one_arm() {
    the_host_can_be_reached(Arms::One);
}

#[test]
fn the_host_and_other_ports_of_the_vip_can_be_reached_with_two_arms() {
    the_host_can_be_reached(Arms::Two);
}

#[test]
fn everybody_answers_pings_with_one_arm() {
    everybody_answers_pings(Arms::One);
}

#[test]
fn everybody_answers_pings_with_two_arms() {
    everybody_answers_pings(Arms::Two);
}

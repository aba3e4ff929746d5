//! QUIC clients, of a real library, behind `affinity = "quic-cid"`: they stay with their server when their address changes in the
//! middle of a connection.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Network, QuicFarm, Service};
use serde_json::Value;

const BACKENDS: u8 = 3;
const PORT: u16 = 443;
/// So many clients are hardly ever all of one server's, nor do they all fall on their own again after a move.
const CLIENTS: u16 = 12;
const MOVES: u16 = 3;

fn clients_stay(forwarding: &str, tracking: &str, vip: IpAddr) {
    let network = Network::new(Arms::Two, BACKENDS);
    let farm = QuicFarm::start(&network, vip, PORT);
    let service = Service::udp("quic", vip, &[PORT])
        .forwarding(forwarding)
        .key("affinity = \"quic-cid\"")
        .key(&format!("tracking = {tracking:?}"))
        .backends(BACKENDS, PORT);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    let address = |port| SocketAddr::new(Network::client_of(vip), port);
    let mut seen = BTreeSet::new();
    let mut moved = 0;
    for number in 0..CLIENTS {
        let port = 40_000 + 10 * number;
        let client = farm
            .connect(&network.client, address(port), SocketAddr::new(vip, PORT))
            .unwrap();
        let (server, from) = client.ask().unwrap();
        assert_eq!(from, address(port));
        for step in 1..=MOVES {
            let next = address(port + step);
            let by_flow: Value = balancer.json(&["lookup", "quic", &next.to_string()]);
            moved += u16::from(by_flow["backend"] != *server);
            client.move_to(&network.client, next).unwrap();
            let answers = [(); 2].map(|()| client.ask().unwrap());
            assert!(
                answers.iter().all(|(name, _)| *name == server),
                "{server} then {answers:?}"
            );
            assert_eq!(answers[1].1, next, "the server has seen the move");
        }
        seen.insert(server);
    }
    assert_eq!(seen.len(), usize::from(BACKENDS), "{seen:?}");
    assert!(
        moved > CLIENTS,
        "the clients' new addresses alone would have moved {moved} times"
    );
}

#[test]
fn clients_that_change_their_port_stay_with_their_server() {
    clients_stay("nat", "full", Network::VIP.into());
}

#[test]
fn clients_over_ipv6_that_change_their_port_stay_with_their_server() {
    clients_stay("nat", "full", Network::VIP6.into());
}

#[test]
fn clients_stay_where_flows_are_not_remembered() {
    clients_stay("nat", "none", Network::VIP.into());
}

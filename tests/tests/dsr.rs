//! Real clients and servers behind `forwarding = "dsr"`: backends have the VIP and answer clients directly.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Farm, Network, Service, UdpClient, UdpServer, assert_bodies_arrive_whole, get_from,
};
use serde_json::Value;

const BACKENDS: u8 = 2;
/// Clients: with so many, no backend of two is likely to be missed, once in about 10^6 runs.
const CLIENTS: u16 = 20;
/// Length of a body in bytes.
const LENGTH: u64 = 50_000_000;

const VIPS: [IpAddr; 2] = [IpAddr::V4(Network::VIP), IpAddr::V6(Network::VIP6)];

fn network() -> Network {
    let network = Network::new(Arms::One, BACKENDS);
    network.answer_directly();
    network
}

fn service(protocol: &str, vip: IpAddr) -> Service {
    Service::new(protocol, protocol, vip, &[80])
        .forwarding("dsr")
        .backends(BACKENDS, None)
}

fn clients(vip: IpAddr) -> impl Iterator<Item = SocketAddr> {
    (40_000..40_000 + CLIENTS).map(move |port| SocketAddr::new(Network::client_of(vip), port))
}

#[test]
fn http_clients_are_answered_by_the_backend_that_lookup_names() {
    for vip in VIPS {
        let network = network();
        let _servers = Farm::http(&network, 80);
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &service("tcp", vip).to_string());
        let mut answered = HashSet::new();
        for client in clients(vip) {
            let lookup: Value = balancer.json(&["lookup", "tcp", &client.to_string()]);
            let reply = get_from(&network.client, client, SocketAddr::new(vip, 80), "/").unwrap();
            let reply: HashMap<String, String> = reply.json();
            assert_eq!(reply["client"], client.to_string());
            assert_eq!(lookup["backend"], reply["server"].as_str());
            answered.insert(reply["server"].clone());
        }
        assert_eq!(answered.len(), usize::from(BACKENDS), "{answered:?}");

        // What clients send passes by, what they get does not.
        let services: Value = balancer.json(&["service", "list"]);
        assert!(
            services[0]["packets"].as_u64().unwrap() > u64::from(CLIENTS) * 4,
            "{services}"
        );
        assert_eq!(services[0]["new_flows"], CLIENTS);
        assert_eq!(services[0]["reply_packets"], 0);
    }
}

#[test]
fn udp_clients_are_answered_from_the_vip() {
    for vip in VIPS {
        let network = network();
        let directory = tempfile::tempdir().unwrap();
        let _servers: Vec<_> = (0..BACKENDS)
            .map(|number| {
                let host = &network.backends[usize::from(number)];
                let name = Network::backend_name(number);
                UdpServer::start_at(host, &name, SocketAddr::new(vip, 80), &directory.path().join(&name))
            })
            .collect();
        let _balancer = Balancer::start(&network.balancer, &network.interfaces, &service("udp", vip).to_string());
        let mut answered = HashSet::new();
        for client in clients(vip) {
            let udp = UdpClient::new(&network.client, client).unwrap();
            let reply = udp.ask(SocketAddr::new(vip, 80), b"who?").unwrap();
            let (name, seen) = reply.split_once(' ').unwrap();
            assert_eq!(seen, client.to_string());
            answered.insert(name.to_owned());
        }
        assert_eq!(answered.len(), usize::from(BACKENDS), "{answered:?}");
    }
}

#[test]
fn bodies_of_50_mb_arrive_whole() {
    for vip in VIPS {
        let network = network();
        let _servers = Farm::http(&network, 80);
        let _balancer = Balancer::start(&network.balancer, &network.interfaces, &service("tcp", vip).to_string());
        assert_bodies_arrive_whole(&network.client, SocketAddr::new(vip, 80), LENGTH);
    }
}

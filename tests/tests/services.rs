//! Services that are more than one port on backends of their own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, UdpClient, get_from};
use serde_json::Value;

const BACKENDS: u8 = 3;

/// Another VIP. The balancer host need not have it: what matters is that the packets come by.
const SECOND_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

/// Who answers requests from 20 client ports from `first` on.
fn who_answers(network: &Network, server: SocketAddr, first: u16) -> BTreeSet<String> {
    let clients = (first..first + 20).map(|port| SocketAddr::new(Network::client_of(server.ip()), port));
    clients
        .map(|client| {
            let reply: Value = get_from(&network.client, client, server, "/").unwrap().json();
            assert_eq!(reply["client"], client.to_string());
            reply["server"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn all() -> BTreeSet<String> {
    (0..BACKENDS).map(Network::backend_name).collect()
}

#[test]
fn services_can_share_the_ports_of_their_backends() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::http(&network, 8080);
    let services = [
        Service::tcp("first", Network::VIP, &[80, 81]).backends(BACKENDS, 8080),
        Service::tcp("second", Network::VIP, &[443]).backends(BACKENDS, 8080),
        Service::tcp("other-vip", SECOND_VIP, &[80]).backends(BACKENDS, 8080),
    ];
    let configuration: String = services.iter().map(ToString::to_string).collect();
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &configuration);
    let endpoints = [
        SocketAddr::from((Network::VIP, 80)),
        SocketAddr::from((Network::VIP, 81)),
        SocketAddr::from((Network::VIP, 443)),
        SocketAddr::from((SECOND_VIP, 80)),
    ];
    // A client's connection would be reset if the reply came from another service's address or port.
    for (server, first) in endpoints.into_iter().zip([40_000, 41_000, 42_000, 43_000]) {
        assert_eq!(who_answers(&network, server, first), all(), "{server}");
    }
    for (service, flows) in [("first", 40), ("second", 20), ("other-vip", 20)] {
        let sample = format!("balancer_service_new_flows_total{{service=\"{service}\"}}");
        assert_eq!(balancer.metric(&sample), flows, "{service}");
    }
}

#[test]
fn udp_replies_come_from_the_service_that_was_asked() {
    let network = Network::new(Arms::Two, 1);
    let _servers = Farm::udp(&network, 5353);
    let services = [
        Service::udp("first", Network::VIP, &[53]).backends(1, 5353),
        Service::udp("second", SECOND_VIP, &[53]).backends(1, 5353),
    ];
    let configuration: String = services.iter().map(ToString::to_string).collect();
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &configuration);
    for port in 40_000..40_010 {
        let client = UdpClient::new(&network.client, SocketAddr::new(Network::CLIENT.into(), port)).unwrap();
        let vip = if port % 2 == 0 { Network::VIP } else { SECOND_VIP };
        client.ask((vip, 53).into(), b"who?").unwrap();
    }
}

#[test]
fn a_service_of_every_port_keeps_the_port_of_the_client() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _first = Farm::http(&network, 8080);
    let _second = Farm::http(&network, 8081);
    let four = Service::tcp("four", Network::VIP, &[]).backends(BACKENDS, None);
    let six = Service::tcp("six", Network::VIP6, &[]).backends(BACKENDS, None);
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{four}{six}"));
    for vip in [IpAddr::from(Network::VIP), Network::VIP6.into()] {
        for (port, first) in [(8080, 40_000), (8081, 41_000)] {
            assert_eq!(who_answers(&network, SocketAddr::new(vip, port), first), all());
        }
    }
}

#[test]
fn a_port_of_its_own_goes_before_a_service_of_every_port() {
    let network = Network::new(Arms::Two, 2);
    let _servers = Farm::http(&network, 8080);
    let any = Service::tcp("any", Network::VIP, &[]).backend("b0", &Network::backend(0).to_string());
    let own = SocketAddr::from((Network::backend(1), 8080));
    let one = Service::tcp("one", Network::VIP, &[80]).backend("b1", &own.to_string());
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{any}{one}"));
    for (port, first, backend) in [(8080, 40_000, "b0"), (80, 41_000, "b1")] {
        let server = SocketAddr::from((Network::VIP, port));
        assert_eq!(
            who_answers(&network, server, first),
            BTreeSet::from([backend.to_owned()])
        );
    }
}

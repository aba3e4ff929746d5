//! Clients and backends whose link-layer addresses are not known.

use std::{io, net::SocketAddr, time::Duration};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, UdpClient, eventually};

fn ask_until_answered(client: &UdpClient, vip: SocketAddr) {
    client
        .socket()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    eventually("the client is answered", || match client.ask(vip, b"who?") {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        answer => Some(answer.unwrap()),
    });
}

#[test]
fn a_client_that_the_host_does_not_know_is_found() {
    let network = Network::new(Arms::Two, 1);
    let _servers = Farm::udp(&network, 5353);
    let four = Service::udp("four", Network::VIP, &[53]).backends(1, 5353);
    let six = Service::udp("six", Network::VIP6, &[53]).backends(1, 5353);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{four}{six}"));
    network.client.ip("address add 10.1.9.9/16 dev eth0");
    network.client.ip("address add fd00:1::9/64 dev eth0 nodad");
    for (vip, stranger) in [
        (SocketAddr::from((Network::VIP, 53)), "10.1.9.9:40000"),
        (SocketAddr::from((Network::VIP6, 53)), "[fd00:1::9]:40000"),
    ] {
        // The client asks for the host's link-layer address, and the host learns that of the one who asks.
        let known = SocketAddr::new(Network::client_of(vip.ip()), 40_000);
        UdpClient::new(&network.client, known)
            .unwrap()
            .ask(vip, b"who?")
            .unwrap();
        let before = balancer.metric("balancer_drops_total{reason=\"no_neighbor\"}");
        let stranger = UdpClient::new(&network.client, stranger.parse().unwrap()).unwrap();
        ask_until_answered(&stranger, vip);
        assert!(balancer.metric("balancer_drops_total{reason=\"no_neighbor\"}") > before);
    }
}

#[test]
fn a_backend_that_comes_after_the_daemon_is_found() {
    let network = Network::new(Arms::Two, 1);
    network.backends[0].ip("link set eth0 down");
    let service = Service::udp("dns", Network::VIP, &[53]).backends(1, 5353);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    let vip = SocketAddr::from((Network::VIP, 53));
    let client = UdpClient::new(&network.client, SocketAddr::new(Network::CLIENT.into(), 40_000)).unwrap();
    client.send(vip, b"who?").unwrap();
    eventually("the packet is dropped", || {
        (balancer.metric("balancer_drops_total{reason=\"no_next_hop\"}") == 1).then_some(())
    });

    network.backends[0].ip("link set eth0 up");
    network.backends[0].ip("route replace default via 10.2.0.1");
    let _servers = Farm::udp(&network, 5353);
    ask_until_answered(&client, vip);
}

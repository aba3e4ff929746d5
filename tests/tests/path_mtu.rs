//! Ways on which large packets get lost: connections find out, or are kept from sending such.

use std::net::{IpAddr, SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Checksum, Connection, Decap, Farm, Network, Sequence, Service};

/// What fits between router and client. Both ends of a connection have 1,500.
const NARROW: u32 = 1_300;
/// Length of a body in bytes.
const LENGTH: u64 = 1_000_000;
const VIPS: [IpAddr; 2] = [IpAddr::V4(Network::VIP), IpAddr::V6(Network::VIP6)];

/// A network with one backend, and a narrow link in front of the client.
fn network(forwarding: &str) -> Network {
    let network = Network::new(Arms::One, 1);
    if forwarding != "nat" {
        network.answer_directly();
    }
    network.narrow(NARROW);
    network
}

fn service(vip: IpAddr, forwarding: &str) -> Service {
    let port = (forwarding == "nat").then_some(8080);
    Service::tcp("web", vip, &[80]).forwarding(forwarding).backends(1, port)
}

fn expected() -> Checksum {
    let mut expected = Checksum::default();
    let body = std::io::Read::take(Sequence::default(), LENGTH);
    expected.update_from(body).unwrap();
    expected
}

fn download(network: &Network, vip: IpAddr) -> Checksum {
    let mut connection = Connection::open(&network.client, None, SocketAddr::new(vip, 80)).unwrap();
    let mut downloaded = Checksum::default();
    let path = format!("/bytes/{LENGTH}");
    downloaded.update_from(connection.download(&path).unwrap()).unwrap();
    downloaded
}

/// What the router says of a packet from the VIP has to reach the backend that sent it.
#[test]
fn a_backend_learns_of_a_narrow_link_behind_the_vip() {
    for (forwarding, port) in [("nat", 8080), ("dsr", 80)] {
        for vip in VIPS {
            let network = network(forwarding);
            let _servers = Farm::http(&network, port);
            let service = service(vip, forwarding).to_string();
            let balancer = Balancer::start(&network.balancer, &network.interfaces, &service);
            assert_eq!(download(&network, vip), expected(), "{forwarding} {vip}");
            let relayed = balancer.metric("balancer_dataplane_events_total{event=\"error_to_backend\"}");
            assert!(relayed > 0, "{forwarding} {vip}: the link was not too narrow");
        }
    }
}

/// A router that says nothing leaves no other way than segments that fit.
#[test]
fn clamped_segments_get_through_where_nobody_says_that_others_do_not() {
    for vip in VIPS {
        let network = network("nat");
        network.silence();
        let _servers = Farm::http(&network, 8080);
        let service = service(vip, "nat").key("mss = 1200").to_string();
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &service);
        assert_eq!(download(&network, vip), expected(), "{vip}");
        let relayed = balancer.metric("balancer_dataplane_events_total{event=\"error_to_backend\"}");
        assert_eq!(relayed, 0, "{vip}: somebody said something");
    }
}

/// A tunnel takes room, which the client does not know of.
#[test]
fn a_client_learns_of_what_does_not_fit_into_the_tunnel() {
    for vip in VIPS {
        let network = Network::new(Arms::One, 1);
        network.answer_directly();
        let _servers = Farm::http(&network, 80);
        let directory = tempfile::tempdir().unwrap();
        let from = ["10.2.0.1", "fd00:2::1"];
        let _decap = Decap::start(&network.backends[0], &from, &directory.path().join("decap"));
        let service = service(vip, "gue").to_string();
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &service);
        let mut connection = Connection::open(&network.client, None, SocketAddr::new(vip, 80)).unwrap();
        let uploaded = connection.upload("/sum", Sequence::default(), LENGTH).unwrap();
        assert_eq!(uploaded.text(), expected().to_string(), "{vip}");
        let told = balancer.metric("balancer_dataplane_events_total{event=\"sender_told\"}");
        assert!(told > 0, "{vip}: everything fitted");
    }
}

//! Large bodies through the VIP arrive whole.

use std::net::{IpAddr, SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Checksum, Connection, Farm, Network, Sequence, Service};

/// Length of a body in bytes.
const LENGTH: u64 = 100_000_000;

/// Sends a large body each way over one connection.
fn bodies_arrive_whole(arms: Arms, vip: IpAddr) {
    let network = Network::new(arms, 1);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", vip, &[80]).backends(1, 8080);
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    let mut expected = Checksum::default();
    expected
        .update_from(std::io::Read::take(Sequence::default(), LENGTH))
        .unwrap();

    let mut connection = Connection::open(&network.client, None, SocketAddr::new(vip, 80)).unwrap();
    let mut downloaded = Checksum::default();
    let length = downloaded
        .update_from(connection.download(&format!("/bytes/{LENGTH}")).unwrap())
        .unwrap();
    assert_eq!((length, downloaded), (LENGTH, expected));

    let uploaded = connection.upload("/sum", Sequence::default(), LENGTH).unwrap();
    assert_eq!(uploaded.text(), expected.to_string());
}

#[test]
fn bodies_of_100_mb_arrive_whole_with_one_arm() {
    bodies_arrive_whole(Arms::One, Network::VIP.into());
}

#[test]
fn bodies_of_100_mb_arrive_whole_with_two_arms_over_ipv6() {
    bodies_arrive_whole(Arms::Two, Network::VIP6.into());
}

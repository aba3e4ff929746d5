//! Large bodies through the VIP arrive whole.

use std::net::{IpAddr, SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, assert_bodies_arrive_whole};

/// Length of a body in bytes.
const LENGTH: u64 = 100_000_000;

/// Sends a large body each way over one connection.
fn bodies_arrive_whole(arms: Arms, vip: IpAddr) {
    let network = Network::new(arms, 1);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", vip, &[80]).backends(1, 8080);
    let _balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    assert_bodies_arrive_whole(&network.client, SocketAddr::new(vip, 80), LENGTH);
}

#[test]
fn bodies_of_100_mb_arrive_whole_with_one_arm() {
    bodies_arrive_whole(Arms::One, Network::VIP.into());
}

#[test]
fn bodies_of_100_mb_arrive_whole_with_two_arms_over_ipv6() {
    bodies_arrive_whole(Arms::Two, Network::VIP6.into());
}

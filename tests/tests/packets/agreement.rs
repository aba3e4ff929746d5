//! Balancers with the same configuration agree on every client, whatever each has been through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{AffinityKind, protocol::TCP};
use balancer_tests::packet::{Host, backend, service};

use crate::cases::{FAMILIES, Family};

const CLIENTS: u32 = 100_000;

fn of_weight(family: Family, number: u8, weight: u32) -> DesiredBackend {
    DesiredBackend {
        weight,
        ..backend(SocketAddr::new(family.host(number), 8080))
    }
}

fn web(family: Family, affinity: AffinityKind, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    DesiredService {
        affinity,
        ..service("web", family.vip, TCP, &[], backends)
    }
}

/// A client for each number.
fn client(family: Family, number: u32) -> SocketAddr {
    let address = match family.client {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + number).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(number)).into(),
    };
    SocketAddr::new(address, 40_000)
}

/// The name of the backend that a client who is not known would get.
fn backend_for(host: &mut Host<'_>, client: SocketAddr, vip: SocketAddr) -> String {
    let explanation = host.explain(client, vip, TCP);
    host.dataplane().state().backends[&explanation.backend].name.clone()
}

#[test]
fn two_balancers_of_different_pasts_send_each_of_many_clients_to_the_same_backend() {
    let weight = |number: u8| 100 + u32::from(number % 3) * 50;
    for (family, affinity) in FAMILIES
        .into_iter()
        .zip([AffinityKind::ClientIpPort, AffinityKind::ClientIp])
    {
        Host::run(|one| {
            Host::run(|other| {
                one.serve([web(family, affinity, (1..=20).map(|n| of_weight(family, n, weight(n))))]);
                // The other has had other backends, some of them under other weights, and lists them the other way round.
                for numbers in [5..=9, 3..=40, 15..=16] {
                    other.serve([web(family, affinity, numbers.map(|n| of_weight(family, n, 77)))]);
                }
                other.serve([web(
                    family,
                    affinity,
                    (1..=20).rev().map(|n| of_weight(family, n, weight(n))),
                )]);
                let vip = SocketAddr::new(family.vip, 443);
                for number in 0..CLIENTS {
                    let client = client(family, number);
                    assert_eq!(
                        backend_for(one, client, vip),
                        backend_for(other, client, vip),
                        "{client}"
                    );
                }
            });
        });
    }
}

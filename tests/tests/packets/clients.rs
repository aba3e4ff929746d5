//! What is remembered of clients, and what they are pinned to.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use balancer::{
    dataplane::TimerTick,
    reconcile::{DesiredBackend, DesiredPin, DesiredService, PinTarget},
};
use balancer_common::abi::{Address, AffinityKind, BackendFlags, Reason, protocol::TCP};
use balancer_tests::packet::{Host, Packet, Transport, service};

use crate::{
    cases::{FAMILIES, Family, V4},
    setting::{active, backend_of, draining, target},
};

const CLIENTS: u8 = 60;

/// A service on every port whose clients are remembered by their addresses.
fn sticky(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    DesiredService {
        affinity: AffinityKind::ClientIp,
        ..service("web", family.vip, TCP, &[], backends)
    }
}

/// Addresses of many clients.
fn addresses(family: Family) -> Vec<IpAddr> {
    (0..CLIENTS).map(|number| neighbour(family.client, number)).collect()
}

/// An address that differs from another in its last byte.
fn neighbour(address: IpAddr, number: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, number])
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = number;
            IpAddr::from(octets)
        }
    }
}

/// Where a new connection goes.
fn connect(host: &mut Host<'_>, family: Family, client: SocketAddr, port: u16) -> SocketAddr {
    let service = SocketAddr::new(family.vip, port);
    backend_of(host, &Packet::new(Transport::syn(), client, service))
}

/// Where new connections of each of the clients go, from the given port of theirs.
fn destinations(host: &mut Host<'_>, family: Family, clients: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    clients
        .iter()
        .map(|&client| connect(host, family, SocketAddr::new(client, port), 80))
        .collect()
}

#[test]
fn known_clients_keep_their_backend_from_every_port_and_to_every_port_whatever_becomes_of_the_table() {
    for family in FAMILIES {
        Host::run(|host| {
            let clients = addresses(family);
            host.serve([sticky(family, [1, 2, 3].map(|number| active(family, number)))]);
            let before = destinations(host, family, &clients, 1_000);
            assert_eq!(before.iter().collect::<HashSet<_>>().len(), 3);
            for (port, backends) in (2_000..).zip([
                vec![
                    active(family, 1),
                    active(family, 2),
                    active(family, 3),
                    active(family, 4),
                ],
                vec![draining(family, 1), active(family, 2), active(family, 3)],
                vec![draining(family, 1), draining(family, 2), active(family, 3)],
            ]) {
                host.serve([sticky(family, backends)]);
                assert_eq!(destinations(host, family, &clients, port), before);
                for (&client, &expected) in clients.iter().zip(&before) {
                    assert_eq!(connect(host, family, SocketAddr::new(client, port), 443), expected);
                }
            }
        });
    }
}

#[test]
fn a_draining_backend_gets_no_new_client() {
    Host::run(|host| {
        let clients = addresses(V4);
        let (known, new) = clients.split_at(clients.len() / 2);
        host.serve([sticky(V4, [1, 2, 3].map(|number| active(V4, number)))]);
        let before = destinations(host, V4, known, 1_000);
        host.serve([sticky(V4, [draining(V4, 1), active(V4, 2), active(V4, 3)])]);
        assert!(!destinations(host, V4, new, 1_000).contains(&target(V4, 1)));
        assert_eq!(destinations(host, V4, known, 2_000), before);
    });
}

#[test]
fn a_client_leaves_a_backend_that_is_down_and_does_not_come_back() {
    Host::run(|host| {
        let clients = addresses(V4);
        let down = DesiredBackend {
            flags: BackendFlags::DOWN.with(BackendFlags::EXPECTED),
            ..draining(V4, 1)
        };
        host.serve([sticky(V4, [active(V4, 1), active(V4, 2)])]);
        let before = destinations(host, V4, &clients, 1_000);
        assert!(before.contains(&target(V4, 1)));
        host.serve([sticky(V4, [down, active(V4, 2)])]);
        assert!(!destinations(host, V4, &clients, 2_000).contains(&target(V4, 1)));
        host.serve([sticky(V4, [active(V4, 1), active(V4, 2)])]);
        assert!(!destinations(host, V4, &clients, 3_000).contains(&target(V4, 1)));
    });
}

#[test]
fn clients_of_one_prefix_share_their_backend() {
    for (family, bits) in FAMILIES.into_iter().zip([96 + 24, 120]) {
        Host::run(|host| {
            let wide = DesiredService {
                client_mask: Address::mask(bits),
                ..sticky(family, [1, 2, 3].map(|number| active(family, number)))
            };
            host.serve([wide]);
            let reached: HashSet<_> = (0..=u8::MAX)
                .map(|number| {
                    connect(
                        host,
                        family,
                        SocketAddr::new(neighbour(family.client, number), 1_000),
                        80,
                    )
                })
                .collect();
            assert_eq!(reached.len(), 1);
        });
    }
}

#[test]
fn a_client_is_forgotten_after_the_timeout_and_not_before_while_it_comes_back() {
    Host::run(|host| {
        let timer = TimerTick::of_kernel().unwrap();
        let short = |backends| DesiredService {
            timeout: timer.units(Duration::from_secs(4)),
            ..sticky(V4, backends)
        };
        host.serve([short(vec![active(V4, 1), active(V4, 2)])]);
        let of_first: Vec<_> = (0..=u8::MAX)
            .map(|number| SocketAddr::new(neighbour(V4.client, number), 1_000))
            .filter(|&client| connect(host, V4, client, 80) == target(V4, 1))
            .collect();
        let (back, gone) = of_first.split_at(of_first.len() / 2);
        host.serve([short(vec![draining(V4, 1), active(V4, 2)])]);
        for port in 2_000..2_006 {
            thread::sleep(Duration::from_secs(1));
            for client in back {
                let client = SocketAddr::new(client.ip(), port);
                assert_eq!(connect(host, V4, client, 80), target(V4, 1));
            }
        }
        for client in gone {
            let client = SocketAddr::new(client.ip(), 3_000);
            assert_eq!(connect(host, V4, client, 80), target(V4, 2));
        }
        let swept = host.dataplane().sweep().unwrap();
        assert!(swept.flows >= gone.len() as u64, "{swept:?}");
    });
}

fn pin(client: IpAddr, bits: u32, target: PinTarget) -> DesiredPin {
    let client = Address::from(client).masked(Address::mask(bits));
    DesiredPin { client, bits, target }
}

#[test]
fn pinned_clients_share_a_backend_for_as_long_as_it_serves_them() {
    for (family, bits) in FAMILIES.into_iter().zip([96 + 24, 120]) {
        for affinity in [AffinityKind::ClientIp, AffinityKind::ClientIpPort] {
            Host::run(|host| {
                let pinned = |backends| DesiredService {
                    affinity,
                    pins: vec![pin(family.client, bits, PinTarget::Key(*b"tenant tenant-a "))],
                    ..sticky(family, backends)
                };
                host.serve([pinned(vec![active(family, 1), active(family, 2), active(family, 3)])]);
                let reached = |host: &mut Host<'_>, port| -> HashSet<_> {
                    (0..100)
                        .map(|number| {
                            let client = SocketAddr::new(neighbour(family.client, number), port + u16::from(number));
                            connect(host, family, client, 80)
                        })
                        .collect()
                };
                let before = reached(host, 1_000);
                assert_eq!(before.len(), 1);
                let backends = (1..=20).map(|number| active(family, number)).collect();
                host.serve([pinned(backends)]);
                assert_eq!(reached(host, 2_000), before);
                let drained = (1..=3).map(|number| draining(family, number));
                host.serve([pinned(drained.chain([active(family, 4)]).collect())]);
                assert_eq!(reached(host, 3_000), before);
            });
        }
    }
}

#[test]
fn the_longest_pin_counts_and_one_to_a_backend_that_does_not_serve_is_no_pin() {
    Host::run(|host| {
        let second = target(V4, 2);
        let pinned = |flags| {
            let chosen = DesiredBackend {
                flags,
                ..draining(V4, 2)
            };
            DesiredService {
                affinity: AffinityKind::ClientIpPort,
                pins: vec![
                    pin(V4.client, 96 + 24, PinTarget::Key([1; 16])),
                    pin(V4.client, 128, PinTarget::Backend(second.to_string())),
                ],
                ..sticky(V4, [active(V4, 1), chosen, active(V4, 3)])
            }
        };
        let keeps = BackendFlags::KEEPS_FLOWS.with(BackendFlags::KEEPS_CLIENTS);
        host.serve([pinned(keeps)]);
        let client = |port| SocketAddr::new(V4.client, port);
        assert!((1_000..1_100).all(|port| connect(host, V4, client(port), 80) == second));
        let service = SocketAddr::new(V4.vip, 80);
        let explained = host.explain(client(5_000), service, TCP);
        assert_eq!(Reason::from_u32(explained.reason), Some(Reason::Pin));

        host.serve([pinned(BackendFlags::DOWN)]);
        assert!((2_000..2_100).all(|port| connect(host, V4, client(port), 80) != second));
    });
}

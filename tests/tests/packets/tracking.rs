//! Services that do not remember every flow.

use std::{net::SocketAddr, thread, time::Duration};

use balancer::{
    dataplane::TimerTick,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::abi::{
    BackendFlags, Tracking,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::{active, backend_of, draining, target},
};

const CLIENTS: usize = 200;

/// A service on every port that remembers what `tracking` says.
fn web(
    family: Family,
    protocol: u8,
    tracking: Tracking,
    backends: impl IntoIterator<Item = DesiredBackend>,
) -> DesiredService {
    DesiredService {
        tracking,
        ..service("web", family.vip, protocol, &[], backends)
    }
}

fn changes(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    web(family, TCP, Tracking::Changes, backends)
}

/// Where a packet of each of the clients goes.
fn destinations(host: &mut Host<'_>, family: Family, transport: &Transport, port: u16) -> Vec<SocketAddr> {
    clients(family.client)
        .take(CLIENTS)
        .map(|client| {
            backend_of(
                host,
                &Packet::new(transport.clone(), client, SocketAddr::new(family.vip, port)),
            )
        })
        .collect()
}

fn remembered(host: &mut Host<'_>) -> u64 {
    host.dataplane().memory().unwrap().count_flows().total
}

#[test]
fn a_quiet_table_remembers_nothing() {
    for family in FAMILIES {
        for (protocol, first, next) in [
            (TCP, Transport::syn(), Transport::ack()),
            (UDP, Transport::Udp, Transport::Udp),
        ] {
            for tracking in [Tracking::Changes, Tracking::None] {
                Host::run(|host| {
                    host.serve([web(family, protocol, tracking, [1, 2, 3].map(|n| active(family, n)))]);
                    let begun = destinations(host, family, &first, 80);
                    assert_eq!(destinations(host, family, &next, 80), begun);
                    assert_eq!(remembered(host), 0);
                });
            }
        }
    }
}

#[test]
fn a_change_moves_no_live_connection_and_remembers_only_those_that_it_would_move() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([changes(family, [1, 2, 3].map(|n| active(family, n)))]);
            let before = destinations(host, family, &Transport::syn(), 80);
            host.serve([changes(family, [1, 2, 3, 4].map(|n| active(family, n)))]);
            assert_eq!(destinations(host, family, &Transport::ack(), 80), before);
            let moved = remembered(host);
            assert!((1..CLIENTS as u64 / 2).contains(&moved), "{moved}");
            // New connections go where the table says, and stay there.
            let fresh = destinations(host, family, &Transport::syn(), 443);
            assert!(fresh.contains(&target(family, 4)));
            assert_eq!(destinations(host, family, &Transport::ack(), 443), fresh);
        });
    }
}

#[test]
fn live_connections_stay_however_often_their_slots_change_hands() {
    for family in FAMILIES {
        Host::run(|host| {
            let steps: [Vec<DesiredBackend>; 6] = [
                vec![active(family, 1), active(family, 2), active(family, 3)],
                vec![
                    active(family, 1),
                    active(family, 2),
                    active(family, 3),
                    active(family, 4),
                ],
                vec![
                    draining(family, 1),
                    active(family, 2),
                    active(family, 3),
                    active(family, 4),
                ],
                vec![
                    draining(family, 1),
                    draining(family, 2),
                    active(family, 3),
                    active(family, 4),
                ],
                vec![
                    active(family, 1),
                    draining(family, 2),
                    draining(family, 3),
                    active(family, 4),
                ],
                vec![
                    active(family, 1),
                    active(family, 2),
                    active(family, 3),
                    active(family, 4),
                ],
            ];
            let mut begun = Vec::new();
            for (port, backends) in (1_000..).zip(steps) {
                host.serve([changes(family, backends)]);
                for (port, expected) in (1_000..).zip(&begun) {
                    // The first are silent until the end: nothing remembers them until then.
                    if port > 1_000 {
                        assert_eq!(&destinations(host, family, &Transport::ack(), port), expected, "{port}");
                    }
                }
                begun.push(destinations(host, family, &Transport::syn(), port));
            }
            assert_eq!(destinations(host, family, &Transport::ack(), 1_000), begun[0]);
        });
    }
}

#[test]
fn a_connection_leaves_a_backend_that_is_gone() {
    Host::run(|host| {
        host.serve([changes(V4, [1, 2, 3].map(|n| active(V4, n)))]);
        let before = destinations(host, V4, &Transport::syn(), 80);
        host.serve([changes(V4, [2, 3].map(|n| active(V4, n)))]);
        let after = destinations(host, V4, &Transport::ack(), 80);
        assert!(!after.contains(&target(V4, 1)));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == target(V4, 1));
        }
        let down = DesiredBackend {
            flags: BackendFlags::DOWN,
            ..draining(V4, 2)
        };
        host.serve([changes(V4, [down, active(V4, 3)])]);
        assert!(
            destinations(host, V4, &Transport::ack(), 80)
                .iter()
                .all(|&to| to == target(V4, 3))
        );
    });
}

#[test]
fn connections_that_were_remembered_stay_when_the_service_comes_to_remember_less() {
    Host::run(|host| {
        let full = |backends| web(V4, TCP, Tracking::Full, backends);
        host.serve([full([1, 2, 3].map(|n| active(V4, n)).to_vec())]);
        let first = destinations(host, V4, &Transport::syn(), 80);
        host.serve([full([1, 2, 3, 4].map(|n| active(V4, n)).to_vec())]);
        host.serve([changes(V4, [1, 2, 3, 4].map(|n| active(V4, n)))]);
        assert_eq!(destinations(host, V4, &Transport::ack(), 80), first);
    });
}

#[test]
fn after_the_timeout_a_quiet_table_remembers_nothing_again() {
    Host::run(|host| {
        let timer = TimerTick::of_kernel().unwrap();
        let short = |backends: &[u8]| DesiredService {
            timeout: timer.units(Duration::from_millis(500)),
            ..changes(V4, backends.iter().map(|&number| active(V4, number)))
        };
        host.serve([short(&[1, 2, 3])]);
        host.serve([short(&[1, 2, 3, 4])]);
        destinations(host, V4, &Transport::syn(), 80);
        assert!(remembered(host) > 0);
        thread::sleep(Duration::from_secs(2));
        host.dataplane().sweep().unwrap();
        assert_eq!(remembered(host), 0);
        let begun = destinations(host, V4, &Transport::syn(), 443);
        assert_eq!(remembered(host), 0);
        assert_eq!(destinations(host, V4, &Transport::ack(), 443), begun);
    });
}

#[test]
fn what_a_backend_answers_the_host_itself_is_passed_whatever_is_remembered() {
    for family in FAMILIES {
        for tracking in [Tracking::Full, Tracking::Changes, Tracking::None] {
            Host::run(|host| {
                host.serve([web(family, TCP, tracking, [active(family, 1)])]);
                let own = SocketAddr::new(Interface::BACKENDS.address_of(family.vip), 50_000);
                let answer = Packet::new(Transport::syn(), own, target(family, 1)).answer().frame();
                host.receive(Interface::BACKENDS, &answer)
                    .assert("an answer to a probe", Action::Pass, &answer);
            });
        }
    }
}

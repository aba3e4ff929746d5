//! What is remembered of flows.

use std::{collections::BTreeSet, net::SocketAddr};

use balancer::{
    maglev::TableSize,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::{
    Event,
    abi::protocol::{TCP, UDP},
};
use balancer_tests::packet::{Host, Interface, Ledger, Packet, Transport, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::{active, backend_of, down, draining, target},
};

const CLIENTS: usize = 100;

/// A service on every port.
fn web(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    service("web", family.vip, TCP, &[], backends)
}

/// Where a packet of each of the clients to a port of the service goes.
fn destinations(host: &mut Host<'_>, family: Family, port: u16) -> Vec<SocketAddr> {
    clients(family.client)
        .take(CLIENTS)
        .map(|client| {
            let service = SocketAddr::new(family.vip, port);
            backend_of(host, &Packet::new(Transport::ack(), client, service))
        })
        .collect()
}

/// How many flows began, of all services together.
fn new_flows(counted: &Ledger) -> u64 {
    counted.services.values().map(|traffic| traffic.new_flows).sum()
}

#[test]
fn a_flow_stays_with_its_backend_whatever_becomes_of_the_table() {
    let weight = |weight, backend| DesiredBackend { weight, ..backend };
    for family in FAMILIES {
        let [one, two, three] = [1, 2, 3].map(|number| active(family, number));
        let changes = [
            (
                "a backend more",
                web(family, [one.clone(), two.clone(), three.clone(), active(family, 4)]),
            ),
            (
                "another weight",
                web(family, [weight(10, one.clone()), two.clone(), three.clone()]),
            ),
            (
                "a backend that drains",
                web(family, [draining(family, 1), two.clone(), three.clone()]),
            ),
            (
                "all but one drain",
                web(family, [draining(family, 1), draining(family, 2), three.clone()]),
            ),
            (
                "another size",
                DesiredService {
                    table_size: TableSize::new(65_537).unwrap(),
                    ..web(family, [one.clone(), two.clone(), three.clone()])
                },
            ),
        ];
        Host::run(|host| {
            host.serve([web(family, [one, two, three])]);
            let before = destinations(host, family, 80);
            for ((case, change), fresh_port) in changes.into_iter().zip(1_000..) {
                host.serve([change]);
                let counted = host.count(|host| assert_eq!(destinations(host, family, 80), before, "{case}"));
                assert_eq!(new_flows(&counted), 0, "{case}");
                // The same clients fall on the same slots, in which others are now.
                assert_ne!(destinations(host, family, fresh_port), before, "{case}");
            }
        });
    }
}

#[test]
fn a_flow_leaves_a_backend_that_may_not_keep_it_and_does_not_come_back() {
    for family in FAMILIES {
        Host::run(|host| {
            let (first, second) = (target(family, 1), target(family, 2));
            host.serve([web(family, [active(family, 1), active(family, 2)])]);
            let before = destinations(host, family, 80);
            let of_first = before.iter().filter(|&&target| target == first).count();
            assert!((1..CLIENTS).contains(&of_first));

            host.serve([web(family, [down(family, 1), active(family, 2)])]);
            let counted = host.count(|host| assert_eq!(destinations(host, family, 80), [second; CLIENTS]));
            assert_eq!(new_flows(&counted), of_first as u64);
            assert_eq!(
                counted.flows, 0,
                "a flow that moves is remembered in the place that it has"
            );

            host.serve([web(family, [active(family, 1), active(family, 2)])]);
            assert_eq!(destinations(host, family, 80), [second; CLIENTS]);
            assert_eq!(destinations(host, family, 81), before, "new flows do come back");
        });
    }
}

#[test]
fn the_flows_of_a_removed_backend_go_to_the_others_and_no_other_moves() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, (1..=3).map(|number| active(family, number)))]);
            let before = destinations(host, family, 80);
            host.serve([web(family, (2..=3).map(|number| active(family, number)))]);
            let after = destinations(host, family, 80);
            let gone = target(family, 1);
            let mut heirs = BTreeSet::new();
            for (before, after) in before.into_iter().zip(after) {
                if before == gone {
                    heirs.insert(after);
                } else {
                    assert_eq!(before, after);
                }
            }
            assert_eq!(heirs, [2, 3].map(|number| target(family, number)).into());
        });
    }
}

#[test]
fn a_backend_that_gets_the_index_of_another_inherits_none_of_its_flows() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, [active(family, 1), active(family, 2)])]);
            let former = host.backend_index("web", target(family, 1));
            assert!(destinations(host, family, 80).contains(&target(family, 1)));

            host.serve([web(family, [active(family, 2)])]);
            // It may keep flows, so those that were thought to be its own would reach it.
            host.serve([web(family, [active(family, 2), draining(family, 3)])]);
            assert_eq!(host.backend_index("web", target(family, 3)), former);
            assert_eq!(destinations(host, family, 80), [target(family, 2); CLIENTS]);
        });
    }
}

#[test]
fn a_service_that_gets_the_index_of_another_inherits_none_of_its_flows() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, [active(family, 1), active(family, 2)])]);
            let indices = [1, 2].map(|number| host.backend_index("web", target(family, number)));
            destinations(host, family, 80);

            host.serve([]);
            let backends = [draining(family, 3), active(family, 4)];
            host.serve([service("api", family.vip, TCP, &[], backends)]);
            assert_eq!(
                [3, 4].map(|number| host.backend_index("api", target(family, number))),
                indices
            );
            let counted = host.count(|host| {
                assert_eq!(destinations(host, family, 80), [target(family, 4); CLIENTS]);
            });
            assert_eq!(new_flows(&counted), CLIENTS as u64);
        });
    }
}

#[test]
fn flows_differ_by_client_port_service_port_and_protocol() {
    Host::run(|host| {
        let backends = || [active(V4, 1), active(V4, 2)];
        host.serve([web(V4, backends()), service("udp", V4.vip, UDP, &[], backends())]);
        let packets = [
            (Transport::syn(), V4.client, 40_000, 80),
            (Transport::syn(), V4.client, 40_000, 81),
            (Transport::syn(), V4.client, 40_001, 80),
            (Transport::syn(), V4.neighbor, 40_000, 80),
            (Transport::Udp, V4.client, 40_000, 80),
        ]
        .map(|(transport, client, client_port, port)| {
            let client = SocketAddr::new(client, client_port);
            Packet::new(transport, client, SocketAddr::new(V4.vip, port))
        });
        for packet in &packets {
            let counted = host.count(|host| {
                backend_of(host, packet);
            });
            assert_eq!((new_flows(&counted), counted.flows), (1, 1), "{packet:?}");
        }
        for packet in &packets {
            let counted = host.count(|host| {
                backend_of(host, packet);
            });
            assert_eq!((new_flows(&counted), counted.flows), (0, 0), "{packet:?}");
        }
    });
}

#[test]
fn a_packet_that_is_dropped_begins_no_flow() {
    Host::run(|host| {
        host.serve([web(V4, [active(V4, 1)])]);
        let client = SocketAddr::new(V4.client, 40_000);
        let packet = Packet::new(Transport::syn(), client, SocketAddr::new(V4.vip, 80));
        let late = Packet {
            ttl: 1,
            ..packet.clone()
        };
        let counted = host.count(|host| {
            host.receive(Interface::CLIENTS, &late.frame());
        });
        assert_eq!(counted, Ledger::told("ttl_expired"));
        let counted = host.count(|host| {
            backend_of(host, &packet);
        });
        assert_eq!(counted.flows, 1);
    });
}

#[test]
fn flows_beyond_the_room_for_them_are_forgotten_and_keep_to_the_table() {
    const ROOM: u32 = 1_024;
    Host::run_with_flows(ROOM, |host| {
        host.serve([web(V4, (1..=3).map(|number| active(V4, number)))]);
        let pass = |host: &mut Host<'_>| -> Vec<_> {
            clients(V4.client)
                .take(8 * ROOM as usize)
                .map(|client| {
                    let service = SocketAddr::new(V4.vip, 80);
                    backend_of(host, &Packet::new(Transport::ack(), client, service))
                })
                .collect()
        };
        let mut first = Vec::new();
        let counted = host.count(|host| first = pass(host));
        let present = host.dataplane().memory().unwrap().count_flows();
        assert!(present.total >= u64::from(ROOM), "{present:?}");
        assert!(present.total < 3 * u64::from(ROOM), "{present:?}");
        let evicted = host.dataplane().event(Event::FlowEvicted).unwrap();
        assert_eq!(evicted, new_flows(&counted) - present.total);
        assert_eq!(pass(host), first);
    });
}

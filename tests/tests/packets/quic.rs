//! QUIC packets follow the server that their connection ID names.

use std::net::SocketAddr;

use balancer::{
    dataplane::Question,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::{
    abi::{AffinityKind, BackendFlags, Forwarding, Reason, Tracking, WhenDown, protocol::UDP},
    quic::{ConnectionIds, Layout},
};
use balancer_tests::packet::{
    Action, Host, Interface, Ledger, Packet, Transport, backend, next_hop, read, received, service,
};

use crate::{
    cases::{FAMILIES, Family, clients},
    setting::{answered, backend_of, know_clients},
};

const SERVERS: [u8; 3] = [1, 2, 3];
const KATRAN: ConnectionIds = ConnectionIds {
    layout: Layout::Katran,
    server_id_length: 0,
};
const SHORT: u8 = 0x40;
const LONG: u8 = 0xc0;

fn target(family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(family.host(number), 8443)
}

/// A server whose identity is a thousand and its number.
fn server(family: Family, number: u8) -> DesiredBackend {
    DesiredBackend {
        server_id: Some(1_000 + u64::from(number)),
        ..backend(target(family, number))
    }
}

fn web(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    DesiredService {
        affinity: AffinityKind::QuicCid,
        ..service("web", family.vip, UDP, &[443], backends)
    }
}

fn vip(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip, 443)
}

fn quic(family: Family, client: SocketAddr, begin: &[u8]) -> Packet {
    let mut packet = Packet::new(Transport::Udp, client, vip(family));
    packet.payload = begin.to_vec();
    packet.payload.resize(40, 0x5a);
    packet
}

/// A packet with a short header for the server with this number, as QUIC-LB has it.
fn short(family: Family, client: SocketAddr, number: u8) -> Packet {
    let id = (1_000 + u32::from(number)).to_be_bytes();
    quic(family, client, &[&[SHORT, 0x07][..], &id].concat())
}

/// A packet with a long header, for whom its connection ID says.
fn long(family: Family, client: SocketAddr, number: u8) -> Packet {
    let mut packet = short(family, client, number);
    packet.payload[0] = LONG;
    packet
}

#[test]
fn packets_with_short_headers_follow_their_server_whatever_the_clients_address() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            for (client, number) in clients(family.client).take(60).zip(SERVERS.iter().cycle()) {
                let packet = short(family, client, *number);
                assert_eq!(backend_of(host, &packet), target(family, *number), "{client}");
            }
        });
    }
}

#[test]
fn a_packet_that_follows_its_server_is_rewritten_and_counted_like_any_other() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            let packet = short(family, clients(family.client).next().unwrap(), 2);
            let expected = packet.forwarded(next_hop(family.host(2)), target(family, 2));
            let length = packet.frame().len() as u64 - 14;
            let counted = host.count(|host| {
                host.receive(Interface::CLIENTS, &packet.frame()).assert(
                    "short header",
                    Action::Redirect,
                    &expected.frame(),
                );
            });
            let name = target(family, 2).to_string();
            assert_eq!(counted, Ledger::of("web", &name, received(1, length, 1), 1));
            // The second one is no new flow.
            let counted = host.count(|host| {
                backend_of(host, &packet);
            });
            assert_eq!(counted, Ledger::of("web", &name, received(1, length, 0), 0));
        });
    }
}

#[test]
fn katrans_connection_ids_are_followed_in_each_version() {
    for family in FAMILIES {
        Host::run(|host| {
            let servers = SERVERS.map(|number| DesiredBackend {
                server_id: Some(u64::from(number)),
                ..server(family, number)
            });
            host.serve([DesiredService {
                connection_ids: KATRAN,
                ..web(family, servers)
            }]);
            let client = clients(family.client).next().unwrap();
            for number in SERVERS {
                for id in [
                    &[0b0100_0000, 0, number << 6][..],
                    &[0b1000_0000, 0, 0, number],
                    &[0b1100_0000, 0, 0, 0, number],
                ] {
                    let packet = quic(family, client, &[&[SHORT], id].concat());
                    assert_eq!(backend_of(host, &packet), target(family, number), "{id:?}");
                }
            }
        });
    }
}

/// What names no server: long headers, identities that nobody has, connection IDs that are marked so, and what is too short.
#[test]
fn what_names_no_server_goes_by_its_flow_and_then_by_the_table() {
    for family in FAMILIES {
        Host::run(|host| {
            let plain = DesiredService {
                affinity: AffinityKind::ClientIpPort,
                ..web(family, SERVERS.map(|n| server(family, n)))
            };
            host.serve([plain]);
            let by_table: Vec<_> = clients(family.client)
                .take(40)
                .map(|client| backend_of(host, &long(family, client, 1)))
                .collect();
            host.serve([]);
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            for (client, expected) in clients(family.client).zip(by_table) {
                let nobody = [
                    long(family, client, 1),
                    short(family, client, 77),
                    quic(family, client, &[SHORT, 0b1110_0000, 0, 0, 3, 0xe9]),
                    Packet {
                        payload: vec![SHORT, 0, 0, 0, 3, 0xe9],
                        ..long(family, client, 1)
                    },
                    Packet {
                        payload: vec![],
                        ..long(family, client, 1)
                    },
                ];
                for packet in nobody {
                    assert_eq!(backend_of(host, &packet), expected, "{packet:?}");
                }
            }
        });
    }
}

#[test]
fn long_headers_follow_the_flow_that_a_connection_id_has_begun() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            for (client, number) in clients(family.client).take(30).zip(SERVERS.iter().cycle()) {
                backend_of(host, &short(family, client, *number));
                assert_eq!(
                    backend_of(host, &long(family, client, 0)),
                    target(family, *number),
                    "{client}"
                );
            }
        });
    }
}

#[test]
fn replies_to_a_client_with_a_new_address_come_from_the_vip() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            for number in [3, 1] {
                // Two connections, one after the other, with one address: the second takes the flow over.
                let client = SocketAddr::new(family.client, 40_000);
                let reply = answered(host, &short(family, client, number), target(family, number));
                let outcome = host.receive(Interface::BACKENDS, &reply.frame());
                assert_eq!(outcome.action, Action::Redirect, "{number}");
                assert_eq!(read(&outcome.frame).source, vip(family));
            }
        });
    }
}

#[test]
fn a_server_that_may_not_serve_leaves_its_packets_to_others() {
    for family in FAMILIES {
        Host::run(|host| {
            let client = SocketAddr::new(family.client, 40_000);
            let gone = DesiredBackend {
                weight: 0,
                flags: BackendFlags::DOWN.with(BackendFlags::EXPECTED),
                ..server(family, 2)
            };
            let draining = DesiredBackend {
                weight: 0,
                ..server(family, 3)
            };
            host.serve([web(family, [server(family, 1), gone.clone(), draining.clone()])]);
            assert_eq!(backend_of(host, &short(family, client, 2)), target(family, 1));
            assert_eq!(backend_of(host, &short(family, client, 3)), target(family, 3));

            let dropping = DesiredService {
                when_down: WhenDown::Drop,
                ..web(family, [server(family, 1), gone, draining])
            };
            host.serve([dropping]);
            let counted = host.count(|host| {
                let outcome = host.receive(Interface::CLIENTS, &short(family, client, 2).frame());
                assert_eq!(outcome.action, Action::Drop);
            });
            assert_eq!(counted, Ledger::drop("backend_down"));
        });
    }
}

#[test]
fn identities_follow_changes_of_the_backends() {
    for family in FAMILIES {
        Host::run(|host| {
            let client = SocketAddr::new(family.client, 40_000);
            let called = |number, id| DesiredBackend {
                server_id: Some(id),
                ..server(family, number)
            };
            host.serve([web(family, [called(1, 1_001), called(2, 1_002)])]);
            host.serve([web(family, [called(1, 1_002), called(2, 1_001)])]);
            assert_eq!(backend_of(host, &short(family, client, 1)), target(family, 2));
            assert_eq!(backend_of(host, &short(family, client, 2)), target(family, 1));
            host.serve([web(family, [called(1, 1_002)])]);
            assert_eq!(backend_of(host, &short(family, client, 1)), target(family, 1));
        });
    }
}

#[test]
fn lookups_say_whom_a_connection_id_names() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, SERVERS.map(|n| server(family, n)))]);
            let client = SocketAddr::new(family.client, 40_000);
            for number in SERVERS {
                let id = [0, 0, 0, 3, 0xe8 + number];
                let question = Question {
                    client,
                    service: vip(family),
                    protocol: UDP,
                    connection_id: Some(&id),
                };
                let explanation = host.dataplane().explain(question).unwrap();
                assert_eq!(explanation.reason, Reason::Connection as u32);
                let index = host.backend_index("web", target(family, number));
                assert_eq!(explanation.backend, index, "{number}");
            }
            assert_eq!(host.dataplane().memory().unwrap().count_flows().total, 0);
        });
    }
}

#[test]
fn a_client_that_moves_needs_no_memory_of_its_flow() {
    for family in FAMILIES {
        for tracking in [Tracking::Changes, Tracking::None] {
            Host::run(|host| {
                host.serve([DesiredService {
                    tracking,
                    forwarding: Forwarding::Dsr,
                    ..web(family, SERVERS.map(|n| server(family, n)))
                }]);
                for (client, number) in clients(family.client).take(30).zip(SERVERS.iter().cycle()) {
                    let outcome = host.receive(Interface::CLIENTS, &short(family, client, *number).frame());
                    assert_eq!(outcome.action, Action::Redirect);
                    assert_eq!(outcome.frame[..6], next_hop(family.host(*number)).destination);
                }
                assert_eq!(host.dataplane().memory().unwrap().count_flows().total, 0);
            });
        }
    }
}

//! From clients to backends.

use std::{net::SocketAddr, ops::Range};

use balancer_common::abi::protocol::{TCP, UDP};
use balancer_tests::packet::{
    Action, Host, Interface, Ledger, Packet, Transport, backend, next_hop, read, received, service,
};

use crate::{
    cases::{FAMILIES, V4, V6, additions, clients, kinds},
    setting::{name, serve_all, served_at, served_by},
};

/// A service with one backend, and which ports clients and backends see.
struct Mapping {
    name: &'static str,
    ports: &'static [u16],
    /// 0 keeps the client's.
    backend_port: u16,
    service_port: u16,
    expected_port: u16,
}

const MAPPINGS: [Mapping; 4] = [
    Mapping {
        name: "a port of its own",
        ports: &[80],
        backend_port: 8080,
        service_port: 80,
        expected_port: 8080,
    },
    Mapping {
        name: "the client's of several ports",
        ports: &[80, 443],
        backend_port: 0,
        service_port: 443,
        expected_port: 443,
    },
    Mapping {
        name: "the client's of every port",
        ports: &[],
        backend_port: 0,
        service_port: 50_000,
        expected_port: 50_000,
    },
    Mapping {
        name: "one port for every port",
        ports: &[],
        backend_port: 8080,
        service_port: 50_000,
        expected_port: 8080,
    },
];

#[test]
fn every_kind_of_packet_reaches_the_backend_translated_and_is_counted() {
    for Mapping {
        name: mapping,
        ports,
        backend_port,
        service_port,
        expected_port,
    } in MAPPINGS
    {
        Host::run(|host| {
            host.serve(FAMILIES.into_iter().flat_map(|family| {
                [TCP, UDP].map(|protocol| {
                    let backends = [backend(SocketAddr::new(family.backend, backend_port))];
                    service(name(family, protocol), family.vip, protocol, ports, backends)
                })
            }));
            for family in FAMILIES {
                for ((kind, transport, payload), client) in kinds().into_iter().zip(clients(family.client)) {
                    let case = format!("{mapping}, {kind} from {client}");
                    let service = name(family, transport.protocol());
                    let packet = Packet {
                        payload: payload.to_vec(),
                        ..Packet::new(transport, client, SocketAddr::new(family.vip, service_port))
                    };
                    let expected =
                        packet.forwarded(next_hop(family.backend), SocketAddr::new(family.backend, expected_port));
                    for new_flows in [1, 0] {
                        let counted = host.count(|host| {
                            host.receive(Interface::CLIENTS, &packet.frame()).assert(
                                &case,
                                Action::Redirect,
                                &expected.frame(),
                            );
                        });
                        let traffic = received(1, packet.length(), new_flows);
                        let backend = SocketAddr::new(family.backend, backend_port).to_string();
                        assert_eq!(counted, Ledger::of(service, &backend, traffic, new_flows), "{case}");
                    }
                }
            }
        });
    }
}

#[test]
fn what_is_around_the_headers_stays_as_it_is() {
    for family in FAMILIES {
        Host::run(|host| {
            serve_all(host);
            let backend = served_by(family);
            let transports = [Transport::syn(), Transport::Udp];
            for (transport, client) in transports.into_iter().zip(clients(family.client)) {
                for (case, addition) in additions(family) {
                    let mut packet = Packet::new(transport.clone(), client, served_at(family));
                    addition(&mut packet);
                    let expected = packet.forwarded(next_hop(backend.ip()), backend);
                    let counted = host.count(|host| {
                        host.receive(Interface::CLIENTS, &packet.frame()).assert(
                            case,
                            Action::Redirect,
                            &expected.frame(),
                        );
                    });
                    let service = name(family, packet.transport.protocol());
                    assert_eq!(counted.services[service].bytes, packet.length(), "{case}");
                }
            }
        });
    }
}

#[test]
fn a_frame_is_redirected_unless_its_next_hop_is_on_the_interface_it_came_in_by() {
    let interfaces = [Interface::CLIENTS, Interface::BACKENDS, Interface::OTHER];
    Host::run(|host| {
        for egress in interfaces {
            let address = SocketAddr::new(V4.backend, 8080);
            let mut target = backend(address);
            target.next_hop = egress.to([2, 0, 0, 0, 0xcc, 1]);
            let expected_hop = target.next_hop;
            host.serve([service("web", V4.vip, TCP, &[80], [target])]);
            for ingress in interfaces {
                let packet = Packet::new(
                    Transport::syn(),
                    SocketAddr::new(V4.client, 40_000),
                    SocketAddr::new(V4.vip, 80),
                );
                let action = if ingress.index == egress.index {
                    Action::Transmit
                } else {
                    Action::Redirect
                };
                host.receive(ingress, &packet.frame()).assert(
                    &format!("from {} to {}", ingress.name, egress.name),
                    action,
                    &packet.forwarded(expected_hop, address).frame(),
                );
            }
        }
    });
}

#[test]
fn every_checksum_there_can_be_comes_out_right() {
    const ALL: Range<u32> = 0..0x1_0000;
    for family in FAMILIES {
        Host::run(|host| {
            serve_all(host);
            let backend = served_by(family);
            for transport in [Transport::Udp, Transport::ack()] {
                let mut packet = Packet::new(transport, SocketAddr::new(family.client, 40_000), served_at(family));
                // Two bytes that take every value: so does the sum, and with it the checksum.
                for word in ALL {
                    packet.payload = word.to_be_bytes()[2..].to_vec();
                    let expected = packet.forwarded(next_hop(backend.ip()), backend);
                    host.receive(Interface::CLIENTS, &packet.frame()).assert(
                        &format!("{word:04x}"),
                        Action::Redirect,
                        &expected.frame(),
                    );
                }
            }
        });
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    for family in FAMILIES {
        Host::run(|host| {
            serve_all(host);
            let backend = served_by(family);
            for transport in [Transport::syn(), Transport::Udp] {
                let packet = Packet::new(transport, SocketAddr::new(family.client, 40_000), served_at(family));
                let last = packet.frame().len() - 1;
                // The TTL is under IPv4's checksum, the last byte of the payload under TCP's and UDP's.
                let flipped = if family.vip.is_ipv4() {
                    vec![packet.network() + 8, last]
                } else {
                    vec![last]
                };
                for position in flipped {
                    let (mut frame, mut expected) = (
                        packet.frame(),
                        packet.forwarded(next_hop(backend.ip()), backend).frame(),
                    );
                    frame[position] ^= 0x20;
                    expected[position] ^= 0x20;
                    let outcome = host.receive(Interface::CLIENTS, &frame);
                    assert!(!read(&outcome.frame).checksums_are_right);
                    if position == last {
                        outcome.assert("a flipped bit of the payload", Action::Redirect, &expected);
                    }
                }
            }
        });
    }
}

#[test]
fn an_ipv6_datagram_without_a_checksum_gets_none() {
    // Tunnels may send such datagrams (RFC 6935); who refuses them is the receiver.
    Host::run(|host| {
        serve_all(host);
        let backend = served_by(V6);
        let packet = Packet::new(
            Transport::UncheckedUdp,
            SocketAddr::new(V6.client, 40_000),
            served_at(V6),
        );
        host.receive(Interface::CLIENTS, &packet.frame()).assert(
            "no checksum",
            Action::Redirect,
            &packet.forwarded(next_hop(backend.ip()), backend).frame(),
        );
    });
}

//! Packets in pieces.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use balancer::reconcile::DesiredService;
use balancer_common::{
    DropReason, Event,
    abi::{
        AffinityKind, Forwarding, Traffic,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{
    Action, Flow, Host, Interface, Packet, Report, Transport, Tunnel, backend, fragments, full_nat, next_hop, read,
    service,
};
use etherparse::Ipv4Header;

use crate::{
    cases::{FAMILIES, Family, clients},
    setting::{GATEWAY, know_clients, name, serve_all, served_at, served_by},
};

/// Bytes that a fragment carries.
const SIZE: usize = 104;

/// Orders in which the four fragments of a packet come, the first one first.
const ORDERS: [[usize; 4]; 3] = [[0, 1, 2, 3], [0, 3, 2, 1], [0, 2, 3, 1]];

/// A packet that makes four fragments.
fn long(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Packet {
    let header = if matches!(transport, Transport::Tcp(_)) { 20 } else { 8 };
    Packet {
        payload: (0..=u8::MAX).cycle().take(3 * SIZE + 51 - header).collect(),
        ..Packet::new(transport, source, destination)
    }
}

fn transports() -> [Transport; 3] {
    [Transport::ack(), Transport::Udp, Transport::UncheckedUdp]
}

/// What tells a fragment from those of other packets.
fn identification(fragment: &[u8]) -> u32 {
    if fragment[0] >> 4 == 4 {
        u32::from(u16::from_be_bytes([fragment[4], fragment[5]]))
    } else {
        u32::from_be_bytes(fragment[44..48].try_into().unwrap())
    }
}

/// Gives a fragment an identification, or as much of it as there is room for.
fn identify(fragment: &mut [u8], identification: u32) {
    let bytes = identification.to_be_bytes();
    if fragment[0] >> 4 == 4 {
        fragment[4..6].copy_from_slice(&bytes[2..]);
        let (mut header, _) = Ipv4Header::from_slice(fragment).unwrap();
        header.header_checksum = header.calc_header_checksum();
        fragment[..20].copy_from_slice(&header.to_bytes());
    } else {
        fragment[44..48].copy_from_slice(&bytes);
    }
}

/// Hands the host a packet in pieces, in this order, which have to leave as the pieces in `expected`.
#[track_caller]
fn assert_follow(
    host: &mut Host<'_>,
    case: &str,
    ingress: Interface,
    (packet, expected): (&Packet, &[u8]),
    order: [usize; 4],
) {
    let pieces = fragments(&packet.frame(), packet.network(), SIZE);
    let mut expected = fragments(expected, packet.network(), SIZE);
    if expected[0][packet.network()] >> 4 != pieces[0][packet.network()] >> 4 {
        for (piece, expected) in pieces.iter().zip(&mut expected) {
            let identification = identification(&piece[packet.network()..]);
            identify(&mut expected[packet.network()..], identification);
        }
    }
    let counted = host.count(|host| {
        for index in order {
            host.receive(ingress, &pieces[index]).assert(
                &format!("{case}: fragment {index} of {order:?}"),
                Action::Redirect,
                &expected[index],
            );
        }
    });
    assert_eq!(counted.drops.len(), 0, "{case}");
    assert_eq!(counted.events[Event::FragmentFollowed.label()], 3, "{case}");
    let traffic = counted.services.values().copied().sum::<Traffic>();
    assert_eq!(traffic.packets + traffic.reply_packets, 4, "{case}");
}

#[test]
fn every_fragment_goes_where_the_first_one_goes_and_so_do_those_of_replies() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let (target, hop) = (served_by(family), next_hop(family.backend));
            let ways = transports()
                .into_iter()
                .flat_map(|transport| ORDERS.map(|order| (transport.clone(), order)));
            for ((transport, order), client) in ways.zip(clients(family.client)) {
                let case = format!("{transport:?}");
                let request = long(transport, client, served_at(family));
                let expected = request.forwarded(hop, target).frame();
                assert_follow(host, &case, Interface::CLIENTS, (&request, &expected), order);

                let reply = Packet {
                    destination: target,
                    ..request.clone()
                }
                .answer();
                let expected = reply
                    .returned(Interface::CLIENTS.to(GATEWAY), served_at(family))
                    .frame();
                assert_follow(host, &case, Interface::BACKENDS, (&reply, &expected), order);
            }
        }
    });
}

#[test]
fn under_full_nat_every_fragment_gets_the_ends_of_the_first_one() {
    let crossings = FAMILIES
        .into_iter()
        .flat_map(|front| FAMILIES.map(|back| (front, back)));
    for (family, back) in crossings {
        let crosses = family.vip.is_ipv4() != back.vip.is_ipv4();
        Host::run(|host| {
            know_clients(host);
            let target = SocketAddr::new(back.backend, 8080);
            let sources: [IpAddr; 2] = ["10.2.0.1", "fd00:2::1"].map(|text| text.parse().unwrap());
            host.serve([TCP, UDP].map(|protocol| {
                let plain = service(name(family, protocol), family.vip, protocol, &[80], [backend(target)]);
                full_nat(plain, &sources, (1_024, 32_767), 3_600)
            }));
            let ways = transports()
                .into_iter()
                // IPv6 has no datagrams without checksum.
                .filter(|transport| !(crosses && matches!(transport, Transport::UncheckedUdp)))
                .flat_map(|transport| ORDERS.map(|order| (transport.clone(), order)));
            for ((transport, order), client) in ways.zip(clients(family.client)) {
                let case = format!("{transport:?}");
                let request = long(transport, client, served_at(family));
                let outcome = host.receive(Interface::CLIENTS, &request.frame());
                let source = read(&outcome.frame).source;
                let expected = request.translated(next_hop(target.ip()), source, target);
                assert_follow(host, &case, Interface::CLIENTS, (&request, &expected), order);

                let reply = long(request.transport.clone(), target, source);
                let expected = reply.translated(Interface::CLIENTS.to(GATEWAY), served_at(family), client);
                assert_follow(host, &case, Interface::BACKENDS, (&reply, &expected), order);
            }
        });
    }
}

/// The frame in which a piece of a packet has to reach a backend that has the VIP.
fn carried(family: Family, forwarding: Forwarding, routed: &Packet, piece: &[u8], seen: &[u8]) -> Vec<u8> {
    if forwarding == Forwarding::Dsr {
        return piece.to_vec();
    }
    let tunnel = Tunnel {
        forwarding,
        source: Interface::BACKENDS.address_of(family.backend),
        destination: family.backend,
    };
    tunnel.carry(routed, &piece[routed.network()..], false, Flow::of(seen))
}

#[test]
fn every_fragment_reaches_a_backend_that_has_the_vip_as_it_is() {
    for family in FAMILIES {
        for forwarding in [Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
            Host::run(|host| {
                host.serve([TCP, UDP].map(|protocol| {
                    let target = backend(SocketAddr::new(family.backend, 0));
                    DesiredService {
                        forwarding,
                        ..service(name(family, protocol), family.vip, protocol, &[80], [target])
                    }
                }));
                for (transport, client) in transports().into_iter().zip(clients(family.client)) {
                    let packet = long(transport, client, served_at(family));
                    let routed = packet.routed(next_hop(family.backend));
                    let pieces = fragments(&packet.frame(), packet.network(), SIZE);
                    let expected = fragments(&routed.frame(), packet.network(), SIZE);
                    for index in [0, 3, 1, 2] {
                        let outcome = host.receive(Interface::CLIENTS, &pieces[index]);
                        let frame = carried(family, forwarding, &routed, &expected[index], &outcome.frame);
                        outcome.assert(&format!("{forwarding:?}: fragment {index}"), Action::Redirect, &frame);
                    }
                }
            });
        }
    }
}

#[test]
fn a_later_fragment_that_comes_before_the_first_one_is_dropped_and_those_after_it_are_not() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = long(Transport::Udp, client, served_at(family));
            let pieces = fragments(&request.frame(), request.network(), SIZE);
            let mut actions = Vec::new();
            let counted = host.count(|host| {
                for index in [3, 2, 0, 1] {
                    actions.push(host.receive(Interface::CLIENTS, &pieces[index]).action);
                }
            });
            let expected = [Action::Drop, Action::Drop, Action::Redirect, Action::Redirect];
            assert_eq!(actions, expected);
            assert_eq!(counted.drops[DropReason::Fragment.label()], 2);
        }
    });
}

#[test]
fn fragments_come_in_any_order_where_neither_service_nor_affinity_depends_on_ports() {
    for family in FAMILIES {
        Host::run(|host| {
            let targets = [1, 2, 3].map(|number| backend(SocketAddr::new(family.host(number), 0)));
            let plain = service("any", family.vip, UDP, &[], targets);
            host.serve([DesiredService {
                affinity: AffinityKind::ClientIp,
                ..plain
            }]);
            for client in (1..20).map(|number| SocketAddr::new(family.host(number), 40_000)) {
                let request = long(Transport::Udp, client, served_at(family));
                let pieces = fragments(&request.frame(), request.network(), SIZE);
                let mut receivers = BTreeSet::new();
                let counted = host.count(|host| {
                    for index in [3, 1, 0, 2] {
                        let outcome = host.receive(Interface::CLIENTS, &pieces[index]);
                        assert_eq!(outcome.action, Action::Redirect, "{client}: fragment {index}");
                        receivers.insert(outcome.frame[..6].to_vec());
                    }
                });
                assert_eq!(receivers.len(), 1, "{client}");
                assert_eq!(counted.services["any"].new_flows, 1, "{client}");
            }
        });
    }
}

#[test]
fn fragments_of_packets_with_another_identification_sender_or_protocol_are_not_mistaken() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = long(Transport::Udp, client, served_at(family));
            let first = &fragments(&request.frame(), request.network(), SIZE)[0];
            assert_eq!(host.receive(Interface::CLIENTS, first).action, Action::Redirect);

            let piece = |packet: &Packet| fragments(&packet.frame(), packet.network(), SIZE)[1].clone();
            let neighbor = SocketAddr::new(family.neighbor, 40_000);
            let mut others = vec![piece(&long(Transport::Udp, neighbor, served_at(family)))];
            let mut other = piece(&request);
            // The last byte of the identification.
            let field = if family.vip.is_ipv4() { 5 } else { 47 };
            other[request.network() + field] ^= 1;
            others.push(other);
            if family.vip.is_ipv4() {
                others.push(piece(&long(Transport::ack(), client, served_at(family))));
            }
            for other in others {
                host.receive(Interface::CLIENTS, &other)
                    .assert("of another packet", Action::Drop, &other);
            }
        }
    });
}

#[test]
fn senders_are_told_of_first_fragments_only() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let late = Packet {
                ttl: 1,
                ..long(Transport::Udp, client, served_at(family))
            };
            let pieces = fragments(&late.frame(), late.network(), SIZE);
            let first = host.receive(Interface::CLIENTS, &pieces[0]);
            assert_eq!(first.action, Action::Transmit);
            // What is quoted is the fragment, not the packet.
            let whole = late.reported(family.vip, Report::TimeExceeded);
            assert_eq!(first.frame[..late.network()], whole[..late.network()]);
            host.receive(Interface::CLIENTS, &pieces[1])
                .assert("a later one", Action::Drop, &pieces[1]);
        }
    });
}

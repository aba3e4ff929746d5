//! Clients of a backend that is down, refused at once.

use std::net::SocketAddr;

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::{
    Event,
    abi::{
        BackendFlags, WhenDown,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Report, Transport, backend, service};
use etherparse::TcpHeader;

use crate::{
    cases::{FAMILIES, Family, additions, clients, kinds},
    setting::{answered, assert_told, name, served_at, served_by},
};

/// Serves port 80 by one backend, whose flows are refused while it is down.
fn serve(host: &mut Host<'_>, is_down: bool) {
    let up = BackendFlags::KEEPS_FLOWS.with(BackendFlags::KEEPS_CLIENTS);
    let down = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
    host.serve(FAMILIES.into_iter().flat_map(|family| {
        [TCP, UDP].map(|protocol| {
            let target = DesiredBackend {
                flags: if is_down { down } else { up },
                weight: if is_down { 0 } else { 100 },
                ..backend(served_by(family))
            };
            DesiredService {
                when_down: WhenDown::Reject,
                ..service(name(family, protocol), family.vip, protocol, &[80], [target])
            }
        })
    }));
}

/// The reset that answers a segment (RFC 9293, 3.10.7.1).
fn reset(segment: &Packet) -> Packet {
    let Transport::Tcp(header) = &segment.transport else {
        panic!("only TCP has resets");
    };
    let length = segment.payload.len() + usize::from(header.syn) + usize::from(header.fin);
    let empty = TcpHeader::new(0, 0, 0, 0);
    let answer = if header.ack {
        TcpHeader {
            rst: true,
            sequence_number: header.acknowledgment_number,
            ..empty
        }
    } else {
        TcpHeader {
            rst: true,
            ack: true,
            acknowledgment_number: header.sequence_number + u32::try_from(length).unwrap(),
            ..empty
        }
    };
    Packet {
        transport: Transport::Tcp(Box::new(answer)),
        ttl: 64,
        payload: Vec::new(),
        padding: Vec::new(),
        ..segment.answer()
    }
}

#[track_caller]
fn assert_refused(host: &mut Host<'_>, case: &str, packet: &Packet) {
    if !matches!(packet.transport, Transport::Tcp(_)) {
        return assert_told(host, case, Interface::CLIENTS, packet, Report::PortUnreachable);
    }
    let counted = host.count(|host| {
        host.receive(Interface::CLIENTS, &packet.frame())
            .assert(case, Action::Transmit, &reset(packet).frame());
    });
    assert_eq!(counted, Ledger::told("rejected"), "{case}");
}

fn request(family: Family, transport: Transport, client: SocketAddr) -> Packet {
    Packet::new(transport, client, served_at(family))
}

#[test]
fn every_kind_of_packet_of_a_flow_whose_backend_is_down_is_refused() {
    Host::run(|host| {
        serve(host, false);
        let packets: Vec<_> = FAMILIES
            .into_iter()
            .flat_map(|family| {
                let clients = clients(family.client);
                kinds()
                    .into_iter()
                    .zip(clients)
                    .map(move |((case, transport, payload), client)| {
                        let payload = payload.to_vec();
                        (
                            case,
                            Packet {
                                payload,
                                ..request(family, transport, client)
                            },
                        )
                    })
            })
            .collect();
        for (_, packet) in &packets {
            answered(host, packet, packet.destination);
        }
        serve(host, true);
        for (case, packet) in &packets {
            if *case == "RST" {
                // Nobody waits for an answer to a reset.
                let counted = host.count(|host| {
                    host.receive(Interface::CLIENTS, &packet.frame())
                        .assert(case, Action::Drop, &packet.frame());
                });
                assert_eq!(counted, Ledger::drop("rejected"));
            } else {
                assert_refused(host, case, packet);
            }
        }
    });
}

#[test]
fn a_refusal_fits_into_what_is_around_the_packet() {
    Host::run(|host| {
        serve(host, false);
        let mut packets = Vec::new();
        for family in FAMILIES {
            for (number, (case, add)) in (1..).zip(additions(family)) {
                let mut packet = request(family, Transport::ack(), SocketAddr::new(family.host(number), 40_000));
                add(&mut packet);
                answered(host, &packet, packet.destination);
                packets.push((case, packet));
            }
        }
        serve(host, true);
        for (case, packet) in &packets {
            assert_refused(host, case, packet);
        }
    });
}

#[test]
fn clients_of_a_backend_that_is_up_are_not_refused_and_new_ones_never() {
    Host::run(|host| {
        serve(host, false);
        for family in FAMILIES {
            for transport in [Transport::syn(), Transport::Udp] {
                let client = SocketAddr::new(family.client, 40_000);
                for _ in 0..2 {
                    answered(host, &request(family, transport.clone(), client), served_by(family));
                }
            }
        }
        serve(host, true);
        for family in FAMILIES {
            let stranger = request(family, Transport::syn(), SocketAddr::new(family.neighbor, 40_000));
            let counted = host.count(|host| {
                host.receive(Interface::CLIENTS, &stranger.frame())
                    .assert("new", Action::Drop, &stranger.frame());
            });
            assert_eq!(counted, Ledger::drop("no_backend"));
        }
    });
}

#[test]
fn refusals_are_limited_for_each_host() {
    Host::run(|host| {
        serve(host, false);
        for family in FAMILIES {
            let packets: Vec<_> = clients(family.client)
                .take(100)
                .map(|client| request(family, Transport::syn(), client))
                .collect();
            serve(host, false);
            for packet in &packets {
                answered(host, packet, served_by(family));
            }
            serve(host, true);
            let counted = host.count(|host| {
                for packet in &packets {
                    host.receive(Interface::CLIENTS, &packet.frame());
                }
            });
            let told = counted.events[Event::SenderTold.label()];
            assert_eq!(told + counted.events[Event::SenderNotTold.label()], 100);
            assert!((20..90).contains(&told), "{told}");
        }
    });
}

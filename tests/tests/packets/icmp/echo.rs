//! Messages that no flow has to do with.

use balancer_common::Event;
use balancer_tests::packet::{Action, Extension, Host, Interface, Ledger, Packet, Transport};
use etherparse::ether_type;

use super::{echo_reply, echo_request, host_of};
use crate::{cases::FAMILIES, setting::serve_all};

#[test]
fn an_echo_request_to_a_vip_is_answered_to_where_it_came_from() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let plain = echo_request(family);
            let mut requests = vec![
                plain.clone(),
                Packet {
                    payload: Vec::new(),
                    padding: vec![0xa5; 18],
                    ..plain.clone()
                },
                Packet {
                    payload: vec![0x5a; 1_473],
                    ..plain.clone()
                },
                Packet {
                    payload: vec![0x5a; 8_901],
                    ..plain.clone()
                },
                Packet {
                    ttl: 1,
                    ..plain.clone()
                },
                Packet {
                    ttl: 255,
                    ..plain.clone()
                },
                Packet {
                    vlans: vec![
                        (ether_type::PROVIDER_BRIDGING, 0x123),
                        (ether_type::VLAN_TAGGED_FRAME, 0xabc),
                    ],
                    ..plain.clone()
                },
            ];
            if family.vip.is_ipv4() {
                requests.push(Packet {
                    ipv4_options: vec![1; 40],
                    ..plain.clone()
                });
            } else {
                let extensions = vec![
                    Extension::HopByHop,
                    Extension::ATOMIC_FRAGMENT,
                    Extension::Destination(2),
                ];
                requests.push(Packet {
                    extensions,
                    ..plain.clone()
                });
            }
            for request in requests {
                let counted = host.count(|host| {
                    host.receive(Interface::CLIENTS, &request.frame()).assert(
                        &format!("{request:?}"),
                        Action::Transmit,
                        &echo_reply(family, &request).frame(),
                    );
                });
                assert_eq!(counted, Ledger::event(Event::EchoAnswered));
            }
        }
    });
}

#[test]
fn every_checksum_of_an_echo_reply_comes_out_right() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            // The last word takes values that make the checksum come near its carries, and near both zeros.
            for word in (0..=u16::MAX).step_by(97).chain([0xffff]) {
                let request = Packet {
                    payload: word.to_be_bytes().to_vec(),
                    ..echo_request(family)
                };
                host.receive(Interface::CLIENTS, &request.frame()).assert(
                    &format!("{word:#06x}"),
                    Action::Transmit,
                    &echo_reply(family, &request).frame(),
                );
            }
        }
    });
}

#[test]
fn other_messages_pass_as_they_came() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let request = echo_request(family);
            let with = |kind| Packet {
                transport: Transport::Message(kind, [0; 4]),
                ..request.clone()
            };
            let mut packets = vec![
                Packet {
                    destination: host_of(family.other_vip),
                    ..request.clone()
                },
                echo_reply(family, &request.answer()),
            ];
            if family.vip.is_ipv4() {
                // Source quench, redirect, timestamp.
                packets.extend([[4, 0], [5, 1], [13, 0]].map(with));
                packets.push(Packet {
                    ipv4_fragment: (0, true),
                    ..request.clone()
                });
            } else {
                // Router and neighbour solicitation.
                packets.extend([[133, 0], [135, 0]].map(with));
                packets.push(Packet {
                    extensions: vec![Extension::Fragment { offset: 0, more: true }],
                    ..request.clone()
                });
            }
            for packet in packets {
                let counted = host.count(|host| {
                    host.receive(Interface::CLIENTS, &packet.frame()).assert(
                        &format!("{packet:?}"),
                        Action::Pass,
                        &packet.frame(),
                    );
                });
                assert_eq!(counted, Ledger::default());
            }
        }
    });
}

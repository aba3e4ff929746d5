//! Who may use a service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use balancer::{config::Sources, reconcile::DesiredService};
use balancer_common::{
    Event,
    abi::{
        AffinityKind, Forwarding, Reason,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Transport, fragments, full_nat, service};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    cases::{FAMILIES, Family, V4, additions, kinds},
    explanations::foretold,
    icmp::error,
    setting::{active, answered, know_clients, target},
};

/// A service on port 80 with these lists.
pub(super) fn web(family: Family, lists: Option<&Sources>) -> DesiredService {
    DesiredService {
        source_lists: lists.cloned().map(Arc::new),
        ..service("web", family.vip, TCP, &[80], [active(family, 1)])
    }
}

fn vip(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip, 80)
}

/// The first bits of a client's address.
fn net(client: IpAddr, bits: u8) -> IpNet {
    IpNet::new(client, bits).unwrap().trunc()
}

/// A client whose number is the end of its address.
fn client(family: Family, number: u16) -> IpAddr {
    match family.client {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xffff | u32::from(number)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0xffff | u128::from(number)).into(),
    }
}

/// Lists of prefixes, by the number of a client that is in it and how many of the last bits do not count.
pub(super) fn lists(family: Family, allow: &[(u16, u8)], deny: &[(u16, u8)]) -> Sources {
    let whole = if family.vip.is_ipv4() { 32 } else { 128 };
    let nets = |prefixes: &[(u16, u8)]| {
        let nets = prefixes.iter();
        nets.map(|&(number, free)| net(client(family, number), whole - free))
            .collect()
    };
    Sources {
        allow: nets(allow),
        deny: nets(deny),
    }
}

/// A packet of the client with this number.
pub(super) fn request(family: Family, number: u16) -> Packet {
    Packet::new(
        Transport::syn(),
        SocketAddr::new(client(family, number), 40_000),
        vip(family),
    )
}

/// Whether a packet of a client's is forwarded. One that is not has to be dropped for its source.
#[track_caller]
fn is_admitted(host: &mut Host<'_>, family: Family, number: u16) -> bool {
    is_forwarded(host, &request(family, number))
}

#[track_caller]
fn is_forwarded(host: &mut Host<'_>, request: &Packet) -> bool {
    let mut action = Action::Aborted;
    let counted = host.count(|host| {
        let outcome = host.receive(Interface::CLIENTS, &request.frame());
        if outcome.action == Action::Drop {
            outcome.assert("refused", Action::Drop, &request.frame());
        }
        action = outcome.action;
    });
    match action {
        Action::Redirect => {
            assert_eq!(counted.drops.len(), 0);
            true
        }
        Action::Drop => {
            assert_eq!(counted, Ledger::drop("source_denied"));
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_prefix_that_covers_a_client_says_whether_it_is_admitted() {
    for family in FAMILIES {
        Host::run(|host| {
            // 0x100 to 0x1ff are denied but for 0x180 to 0x1ff, of which 0x190 is denied again.
            let lists = lists(family, &[(0x180, 7)], &[(0x100, 8), (0x190, 0)]);
            let everybody = Sources {
                allow: [lists.allow.clone(), vec![net(family.client, 0)]].concat(),
                ..lists
            };
            host.serve([web(family, Some(&everybody))]);
            for (number, expected) in [
                (0x0ff, true),
                (0x100, false),
                (0x17f, false),
                (0x180, true),
                (0x18f, true),
                (0x190, false),
                (0x191, true),
                (0x1ff, true),
                (0x200, true),
            ] {
                assert_eq!(is_admitted(host, family, number), expected, "{number:x}");
            }
        });
    }
}

#[test]
fn who_is_in_no_list_is_admitted_unless_somebody_is_named_who_is() {
    for family in FAMILIES {
        Host::run(|host| {
            for (allow, deny, expected) in [
                (&[][..], &[(1, 0)][..], true),
                (&[(1, 0)], &[], false),
                (&[(1, 0)], &[(2, 0)], false),
            ] {
                host.serve([web(family, Some(&lists(family, allow, deny)))]);
                assert_eq!(is_admitted(host, family, 3), expected, "{allow:?} {deny:?}");
            }
            host.serve([web(family, None)]);
            assert!(is_admitted(host, family, 1));
            assert_eq!(host.dataplane().state().access.len(), 0);
        });
    }
}

#[test]
fn every_packet_counts_whatever_it_is_and_however_it_is_forwarded() {
    for family in FAMILIES {
        let by_port = Forwarding::ALL.map(|forwarding| (forwarding, AffinityKind::ClientIpPort));
        let others = [AffinityKind::ClientIp, AffinityKind::QuicCid].map(|affinity| (Forwarding::Nat, affinity));
        for (forwarding, affinity) in by_port.into_iter().chain(others) {
            Host::run(|host| {
                let sources = ["10.2.0.1", "fd00:2::1"].map(|text| text.parse().unwrap());
                let denied = lists(family, &[], &[(7, 0)]);
                let of = |protocol| {
                    let plain = DesiredService {
                        affinity,
                        forwarding,
                        source_lists: Some(Arc::new(denied.clone())),
                        ..service(
                            &format!("of-{protocol}"),
                            family.vip,
                            protocol,
                            &[],
                            [active(family, 1)],
                        )
                    };
                    match forwarding {
                        Forwarding::FullNat => full_nat(plain, &sources, (1_024, 2_000), 60),
                        _ => plain,
                    }
                };
                host.serve([of(TCP), of(UDP)]);
                let packet = |number, transport: &Transport, payload: &[u8]| Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(
                        transport.clone(),
                        SocketAddr::new(client(family, number), 40_000),
                        vip(family),
                    )
                };
                for (case, transport, payload) in kinds() {
                    assert!(!is_forwarded(host, &packet(7, &transport, payload)), "{case}");
                    assert!(is_forwarded(host, &packet(8, &transport, payload)), "{case}");
                }
                for (case, add) in additions(family) {
                    let mut denied = packet(7, &Transport::syn(), b"");
                    add(&mut denied);
                    assert!(!is_forwarded(host, &denied), "{case}");
                }
            });
        }
    }
}

#[test]
fn known_flows_are_refused_too_from_the_moment_that_their_client_is() {
    for family in FAMILIES {
        Host::run(|host| {
            let segment = Packet::new(
                Transport::ack(),
                SocketAddr::new(client(family, 7), 40_000),
                vip(family),
            );
            host.serve([web(family, None)]);
            assert!(is_forwarded(host, &segment));
            host.serve([web(family, Some(&lists(family, &[], &[(7, 0)])))]);
            assert!(!is_forwarded(host, &segment));
            host.serve([web(family, None)]);
            assert!(is_forwarded(host, &segment));
        });
    }
}

#[test]
fn each_service_has_lists_of_its_own_whose_places_others_take_over() {
    Host::run(|host| {
        let denied = lists(V4, &[], &[(7, 0)]);
        let other = |name: &str, lists: Option<&Sources>| DesiredService {
            source_lists: lists.cloned().map(Arc::new),
            ..service(name, V4.other_vip, TCP, &[80], [active(V4, 2)])
        };
        let to_other = Packet::new(
            Transport::syn(),
            SocketAddr::new(client(V4, 7), 40_000),
            SocketAddr::new(V4.other_vip, 80),
        );
        host.serve([web(V4, Some(&denied)), other("other", None)]);
        assert!(!is_admitted(host, V4, 7));
        assert!(is_forwarded(host, &to_other));
        // The new one gets the index of the one that goes.
        host.serve([other("other", None)]);
        host.serve([other("other", None), web(V4, Some(&lists(V4, &[], &[(8, 0)])))]);
        assert!(is_admitted(host, V4, 7));
        assert!(!is_admitted(host, V4, 8));
    });
}

#[test]
fn the_answer_to_where_a_packet_would_go_says_that_it_is_denied() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, Some(&lists(family, &[], &[(7, 0)])))]);
            for (number, expected) in [(7, Reason::Denied), (8, Reason::Maglev), (8, Reason::Flow)] {
                let asked = SocketAddr::new(client(family, number), 40_000);
                let (reason, explanation) = foretold(host, TCP, asked, vip(family));
                assert_eq!(reason, expected);
                assert_eq!(explanation.backend == 0, reason == Reason::Denied);
            }
        });
    }
}

#[test]
fn every_piece_of_a_packet_is_refused() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, Some(&lists(family, &[], &[(7, 0)])))]);
            let packet = Packet {
                payload: vec![0xa5; 400],
                ..Packet::new(
                    Transport::ack(),
                    SocketAddr::new(client(family, 7), 40_000),
                    vip(family),
                )
            };
            let pieces = fragments(&packet.frame(), packet.network(), 104);
            let counted = host.count(|host| {
                for piece in &pieces {
                    host.receive(Interface::CLIENTS, piece)
                        .assert("piece", Action::Drop, piece);
                }
            });
            let count = pieces.len() as u64;
            assert_eq!(counted.drops, Ledger::drop_of("source_denied", count).drops);
            assert_eq!(counted.events[Event::FragmentFollowed.label()], count - 1);
        });
    }
}

#[test]
fn an_error_about_a_flow_is_judged_by_its_client_and_not_by_who_reports_it() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            host.serve([web(family, None)]);
            let router = client(family, 9);
            let too_big = if family.vip.is_ipv4() { [3, 4] } else { [2, 0] };
            let about = |host: &mut Host<'_>, number| {
                let request = Packet::new(
                    Transport::ack(),
                    SocketAddr::new(client(family, number), 40_000),
                    vip(family),
                );
                let reply = answered(host, &request, target(family, 1));
                let seen = Packet {
                    source: vip(family),
                    ..reply
                };
                error(too_big, router, &seen, 20)
            };
            let (of_denied, of_admitted) = (about(host, 7), about(host, 8));
            host.serve([web(family, Some(&lists(family, &[], &[(7, 0), (9, 0)])))]);
            assert!(!is_forwarded(host, &of_denied));
            assert!(is_forwarded(host, &of_admitted));
        });
    }
}

/// Every second /24 of a large net, or as many of IPv6.
fn many(family: Family, count: u32) -> Vec<IpNet> {
    (0..count)
        .map(|number| match family.vip {
            IpAddr::V4(_) => Ipv4Net::new(Ipv4Addr::from_bits(0x1000_0000 + (number << 9)), 24)
                .unwrap()
                .into(),
            IpAddr::V6(_) => Ipv6Net::new(
                Ipv6Addr::from_bits((0x2001_0db9 << 96) + (u128::from(number) << 65)),
                64,
            )
            .unwrap()
            .into(),
        })
        .collect()
}

#[test]
fn a_hundred_thousand_prefixes_are_kept_and_changed() {
    const COUNT: u32 = 100_000;
    for family in FAMILIES {
        Host::run(|host| {
            let nets = many(family, COUNT);
            let deny = |nets: &[IpNet]| Sources {
                allow: Vec::new(),
                deny: nets.to_vec(),
            };
            host.serve([web(family, Some(&deny(&nets)))]);
            let sample = |host: &mut Host<'_>, expected: bool| {
                for net in nets.iter().step_by(9_973) {
                    let inside = SocketAddr::new(net.addr(), 40_000);
                    let request = Packet::new(Transport::syn(), inside, vip(family));
                    assert_eq!(is_forwarded(host, &request), expected, "{net}");
                }
                assert!(is_admitted(host, family, 1));
            };
            sample(host, false);
            let (last, others) = nets.split_last().unwrap();
            host.serve([web(family, Some(&deny(others)))]);
            let freed = Packet::new(Transport::syn(), SocketAddr::new(last.addr(), 40_000), vip(family));
            assert!(is_forwarded(host, &freed));
            assert_eq!(host.operations_to([web(family, Some(&deny(others)))]).len(), 0);
            let held = host.dataplane().state().access.clone();
            host.reopen();
            assert!(
                host.dataplane().state().access == held,
                "what is read back is another thing"
            );
            // All of them change their minds.
            let allowing = Sources {
                allow: nets.clone(),
                deny: vec![net(family.client, 0)],
            };
            host.serve([web(family, Some(&allowing))]);
            assert!(is_forwarded(host, &freed));
            assert!(!is_admitted(host, family, 1));
            host.serve([web(family, None)]);
            sample(host, true);
        });
    }
}

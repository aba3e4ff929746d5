//! How many flows may begin.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use balancer::reconcile::{DesiredService, Operation};
use balancer_common::{
    abi::{
        Address, AffinityKind, Forwarding, Limits, Reason, Tracking,
        protocol::{TCP, UDP},
    },
    token_bucket::Rate,
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Transport, fragments, full_nat, service};

use crate::{
    cases::{FAMILIES, Family, V4, additions, clients},
    explanations::foretold,
    setting::active,
};

/// So many at once, and then one an hour: within a test none comes in.
const fn burst_of(burst: u64) -> Rate {
    Rate {
        interval: 3_600_000_000_000,
        burst,
    }
}

/// Limits of each client, told apart by its whole address.
fn each(rate: Rate) -> Limits {
    Limits {
        per_client: rate,
        client_mask: Address::mask(128),
        ..Limits::NONE
    }
}

fn all(rate: Rate) -> Limits {
    Limits {
        in_all: rate,
        ..Limits::NONE
    }
}

/// A service on port 80.
fn web(family: Family, limits: Limits) -> DesiredService {
    DesiredService {
        limits,
        ..service("web", family.vip, TCP, &[80], [active(family, 1), active(family, 2)])
    }
}

fn vip(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip, 80)
}

/// A client with another address for each number.
fn other(family: Family, number: u32) -> IpAddr {
    match family.client {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() + (number << 8)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() + (u128::from(number) << 64)).into(),
    }
}

fn syn(family: Family, client: SocketAddr) -> Packet {
    Packet::new(Transport::syn(), client, vip(family))
}

/// Hands the host packets, and returns how many are forwarded. The others have to be dropped for this reason, untouched.
#[track_caller]
fn count_admitted(host: &mut Host<'_>, packets: impl IntoIterator<Item = Packet>, reason: &'static str) -> u64 {
    let (mut admitted, mut refused) = (0, 0);
    let counted = host.count(|host| {
        for packet in packets {
            let outcome = host.receive(Interface::CLIENTS, &packet.frame());
            if outcome.action == Action::Redirect {
                admitted += 1;
            } else {
                outcome.assert(reason, Action::Drop, &packet.frame());
                refused += 1;
            }
        }
    });
    let expected = if refused == 0 {
        Ledger::default()
    } else {
        Ledger::drop_of(reason, refused)
    };
    assert_eq!(counted.drops, expected.drops);
    let packets: u64 = counted.services.values().map(|traffic| traffic.packets).sum();
    assert_eq!(packets, admitted);
    admitted
}

/// Connections of a client, each from a port of its own.
fn connections(family: Family, client: IpAddr, ports: std::ops::Range<u16>) -> impl Iterator<Item = Packet> {
    ports.map(move |port| syn(family, SocketAddr::new(client, port)))
}

#[test]
fn a_client_begins_a_burst_of_flows_and_no_more_and_others_are_not_touched() {
    for family in FAMILIES {
        Host::run(|host| {
            host.serve([web(family, each(burst_of(30)))]);
            let greedy = connections(family, family.client, 10_000..10_200);
            assert_eq!(count_admitted(host, greedy, "client_limited"), 30);
            for number in 1..20 {
                let client = other(family, number);
                let connections = connections(family, client, 20_000..20_030);
                assert_eq!(count_admitted(host, connections, "client_limited"), 30, "{client}");
            }
            let again = connections(family, family.client, 30_000..30_010);
            assert_eq!(count_admitted(host, again, "client_limited"), 0);
        });
    }
}

/// Begins flows of a client's until one is refused, and returns how many have begun.
fn spend(host: &mut Host<'_>, ports: &mut impl Iterator<Item = u16>) -> u64 {
    let mut packets = ports.map(|port| syn(V4, SocketAddr::new(V4.client, port)));
    let mut admitted = 0;
    while packets.next().is_some_and(|packet| {
        let outcome = host.receive(Interface::CLIENTS, &packet.frame());
        outcome.action == Action::Redirect
    }) {
        admitted += 1;
    }
    admitted
}

#[test]
fn tokens_come_in_at_the_rate() {
    const RATE: u64 = 500;
    /// More than ticks of the kernel's clock are apart.
    const TICK: Duration = Duration::from_millis(12);
    Host::run(|host| {
        host.serve([web(V4, each(Rate::per_second(RATE, 2_000)))]);
        let mut ports = 1_000..;
        let begun = Instant::now();
        let burst = spend(host, &mut ports);
        assert!(burst >= 2_000, "{burst}");
        let spent = Instant::now();
        thread::sleep(Duration::from_secs(1));
        let at_least = spent.elapsed().saturating_sub(TICK);
        let admitted = spend(host, &mut ports);
        let at_most = begun.elapsed() + TICK;
        let tokens = |time: Duration| u64::try_from(time.as_millis()).unwrap() * RATE / 1_000;
        assert!(tokens(at_least) <= admitted, "{admitted} in {at_least:?}");
        assert!(
            burst - 2_000 + admitted <= tokens(at_most) + 1,
            "{burst} and {admitted} in {at_most:?}"
        );
    });
}

#[test]
fn what_belongs_to_a_known_flow_takes_nothing() {
    for (family, tracking) in [(FAMILIES[0], Tracking::Full), (FAMILIES[1], Tracking::Full)] {
        Host::run(|host| {
            let limited = DesiredService {
                tracking,
                ..web(family, each(burst_of(3)))
            };
            host.serve([limited]);
            let client = SocketAddr::new(family.client, 40_000);
            let once_more: Vec<_> = (0..50).map(|_| syn(family, client)).collect();
            assert_eq!(count_admitted(host, once_more, "client_limited"), 50);
            let data = (0..50).map(|_| Packet::new(Transport::ack(), client, vip(family)));
            assert_eq!(count_admitted(host, data, "client_limited"), 50);
            // Two are left.
            let new = connections(family, family.client, 10_000..10_010);
            assert_eq!(count_admitted(host, new, "client_limited"), 2);
            // Nobody says that a segment in the middle belongs to a flow, where all are remembered.
            let stray = Packet::new(Transport::ack(), SocketAddr::new(family.client, 50_000), vip(family));
            assert_eq!(count_admitted(host, [stray], "client_limited"), 0);
            let data = (0..50).map(|_| Packet::new(Transport::ack(), client, vip(family)));
            assert_eq!(count_admitted(host, data, "client_limited"), 50);
        });
    }
}

#[test]
fn where_flows_are_not_remembered_only_requests_for_connections_count() {
    for tracking in [Tracking::Changes, Tracking::None] {
        Host::run(|host| {
            let limited = DesiredService {
                tracking,
                ..web(V4, each(burst_of(3)))
            };
            host.serve([limited]);
            let strays = clients(V4.client).take(50);
            let strays = strays.map(|client| Packet::new(Transport::ack(), client, vip(V4)));
            assert_eq!(count_admitted(host, strays, "client_limited"), 50);
            let new = connections(V4, V4.client, 20_000..20_010);
            assert_eq!(count_admitted(host, new, "client_limited"), 3);
        });
    }
}

#[test]
fn every_way_of_forwarding_and_every_kind_of_packet_is_limited() {
    for family in FAMILIES {
        for forwarding in Forwarding::ALL {
            Host::run(|host| {
                let sources = ["10.2.0.1", "fd00:2::1"].map(|text| text.parse().unwrap());
                for (protocol, transport) in [(TCP, Transport::syn()), (UDP, Transport::Udp)] {
                    let plain = DesiredService {
                        forwarding,
                        limits: each(burst_of(3)),
                        ..service("web", family.vip, protocol, &[], [active(family, 1)])
                    };
                    host.serve([match forwarding {
                        Forwarding::FullNat => full_nat(plain, &sources, (1_024, 2_000), 60),
                        _ => plain,
                    }]);
                    let packets =
                        additions(family)
                            .zip(clients(other(family, protocol.into())))
                            .map(|((_, add), client)| {
                                let mut packet = Packet::new(transport.clone(), client, vip(family));
                                if forwarding == Forwarding::Nat {
                                    add(&mut packet);
                                }
                                packet
                            });
                    let packets: Vec<_> = packets.collect();
                    assert_eq!(
                        count_admitted(host, packets, "client_limited"),
                        3,
                        "{forwarding:?} {protocol}"
                    );
                    host.serve([]);
                }
            });
        }
    }
}

#[test]
fn quic_packets_that_begin_a_flow_are_limited() {
    Host::run(|host| {
        let limited = DesiredService {
            affinity: AffinityKind::QuicCid,
            limits: each(burst_of(3)),
            ..service("web", V4.vip, UDP, &[80], [active(V4, 1)])
        };
        host.serve([limited]);
        let packets = clients(V4.client)
            .take(10)
            .map(|client| Packet::new(Transport::Udp, client, vip(V4)));
        assert_eq!(count_admitted(host, packets, "client_limited"), 3);
    });
}

#[test]
fn clients_of_one_prefix_share_what_they_may_and_those_of_others_do_not() {
    for (family, bits) in FAMILIES.into_iter().zip([96 + 24, 64]) {
        Host::run(|host| {
            let limits = Limits {
                client_mask: Address::mask(bits),
                ..each(burst_of(5))
            };
            host.serve([web(family, limits)]);
            let neighbours = (0..10).map(|last| match family.client {
                IpAddr::V4(address) => IpAddr::from(Ipv4Addr::from_bits(address.to_bits() & !0xff | last)),
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0xff | u128::from(last)).into(),
            });
            let packets: Vec<_> = neighbours
                .map(|client| syn(family, SocketAddr::new(client, 40_000)))
                .collect();
            assert_eq!(count_admitted(host, packets, "client_limited"), 5);
            let beyond = connections(family, other(family, 1), 10_000..10_010);
            assert_eq!(count_admitted(host, beyond, "client_limited"), 5);
        });
    }
}

#[test]
fn a_service_begins_a_burst_of_flows_whoever_they_are_from_and_its_flows_go_on() {
    for family in FAMILIES {
        Host::run(|host| {
            let unlimited = DesiredService {
                limits: Limits::NONE,
                ..service("other", family.other_vip, TCP, &[80], [active(family, 1)])
            };
            host.serve([web(family, all(burst_of(20))), unlimited]);
            let new: Vec<_> = (0..50)
                .map(|number| syn(family, SocketAddr::new(other(family, number), 40_000)))
                .collect();
            assert_eq!(count_admitted(host, new.clone(), "service_limited"), 20);
            assert_eq!(count_admitted(host, new[..20].to_vec(), "service_limited"), 20);
            let beside = (0..50).map(|number| Packet {
                destination: SocketAddr::new(family.other_vip, 80),
                ..syn(family, SocketAddr::new(other(family, number), 40_000))
            });
            assert_eq!(count_admitted(host, beside, "service_limited"), 50);
        });
    }
}

#[test]
fn who_has_no_token_takes_none_of_the_service() {
    Host::run(|host| {
        let limits = Limits {
            in_all: burst_of(20),
            ..each(burst_of(5))
        };
        host.serve([web(V4, limits)]);
        let greedy = connections(V4, V4.client, 10_000..10_100);
        assert_eq!(count_admitted(host, greedy, "client_limited"), 5);
        let others = (1..=15).map(|number| syn(V4, SocketAddr::new(other(V4, number), 40_000)));
        assert_eq!(count_admitted(host, others, "service_limited"), 15);
        let late = syn(V4, SocketAddr::new(other(V4, 99), 40_000));
        assert_eq!(count_admitted(host, [late], "service_limited"), 0);
    });
}

#[test]
fn of_a_flood_from_countless_sources_no_honest_client_feels_anything_and_a_greedy_one_gains_nothing() {
    // More sources than there is room for.
    const FLOOD: u32 = 200_000;
    const HONEST: u32 = 4;
    Host::run_with_flows(1_024, |host| {
        host.serve([web(V4, each(burst_of(4)))]);
        let greedy = |ports| connections(V4, V4.client, ports);
        assert_eq!(count_admitted(host, greedy(10_000..10_100), "client_limited"), 4);
        let mut packet = syn(V4, SocketAddr::new(Ipv4Addr::new(16, 0, 0, 0).into(), 40_000));
        for number in 0..FLOOD {
            packet.source.set_ip(Ipv4Addr::from_bits(0x1000_0000 + number).into());
            let action = host.receive(Interface::CLIENTS, &packet.frame()).action;
            assert_eq!(action, Action::Redirect, "{}", packet.source);
            if number % (FLOOD / HONEST) == 0 {
                let port = 20_000 + u16::try_from(number / (FLOOD / HONEST)).unwrap();
                let honest = connections(V4, other(V4, 1), port..port + 1);
                assert_eq!(count_admitted(host, honest, "client_limited"), 1);
                assert_eq!(count_admitted(host, greedy(11_000..11_010), "client_limited"), 0);
            }
        }
    });
}

#[test]
fn several_cpus_at_once_give_out_what_there_is() {
    const BURST: u64 = 1_000;
    for (limits, reason) in [
        (each(burst_of(BURST)), "client_limited"),
        (all(burst_of(BURST)), "service_limited"),
    ] {
        Host::run(|host| {
            host.serve([web(V4, limits)]);
            let series: Vec<Vec<_>> = [10_000_u16, 30_000]
                .map(|first| {
                    connections(V4, V4.client, first..first + 3_000)
                        .map(|packet| packet.frame())
                        .collect()
                })
                .into();
            let mut admitted = 0;
            let counted = host.count(|host| {
                let outcomes = host.receive_at_once(Interface::CLIENTS, &series);
                let outcomes = outcomes.iter().flatten();
                admitted = outcomes.filter(|outcome| outcome.action == Action::Redirect).count();
            });
            let admitted = u64::try_from(admitted).unwrap();
            // The first two may find no bucket yet, each.
            assert!((BURST..=BURST + 1).contains(&admitted), "{admitted}");
            assert_eq!(counted.drops[reason], 6_000 - admitted);
        });
    }
}

#[test]
fn the_answer_to_where_a_packet_would_go_says_that_it_is_limited_and_takes_nothing() {
    for family in FAMILIES {
        for protocol in [TCP, UDP] {
            Host::run(|host| {
                let limited = DesiredService {
                    limits: each(burst_of(2)),
                    ..service("web", family.vip, protocol, &[80], [active(family, 1)])
                };
                host.serve([limited]);
                let client = |port| SocketAddr::new(family.client, port);
                for (port, expected) in [
                    (1, Reason::Maglev),
                    (2, Reason::Maglev),
                    (3, Reason::Limited),
                    (1, Reason::Flow),
                    (3, Reason::Limited),
                ] {
                    let (reason, explanation) = foretold(host, protocol, client(port), vip(family));
                    assert_eq!(reason, expected, "{port}");
                    assert_eq!(explanation.backend == 0, reason == Reason::Limited);
                }
            });
        }
    }
}

#[test]
fn of_a_packet_whose_first_piece_is_refused_no_piece_goes_on() {
    for family in FAMILIES {
        Host::run(|host| {
            let limited = DesiredService {
                limits: each(burst_of(1)),
                ..service("web", family.vip, UDP, &[80], [active(family, 1)])
            };
            host.serve([limited]);
            let pieces = |port| {
                let packet = Packet {
                    payload: vec![0xa5; 400],
                    ..Packet::new(Transport::Udp, SocketAddr::new(family.client, port), vip(family))
                };
                fragments(&packet.frame(), packet.network(), 104)
            };
            for (port, expected) in [(1, Action::Redirect), (2, Action::Drop)] {
                for piece in pieces(port) {
                    assert_eq!(host.receive(Interface::CLIENTS, &piece).action, expected, "{port}");
                }
            }
        });
    }
}

#[test]
fn other_limits_count_from_now_on_and_what_was_spent_stays_spent() {
    Host::run(|host| {
        let serve = |host: &mut Host<'_>, limits| host.serve([web(V4, limits)]);
        let greedy =
            |host: &mut Host<'_>, ports| count_admitted(host, connections(V4, V4.client, ports), "client_limited");
        serve(host, each(burst_of(3)));
        assert_eq!(greedy(host, 1_000..1_010), 3);
        let operations = host.operations_to([web(V4, each(burst_of(5)))]);
        assert!(matches!(operations[..], [Operation::WriteService { .. }]));
        host.carry_out(operations);
        assert_eq!(greedy(host, 2_000..2_010), 2);
        host.reopen();
        assert_eq!(greedy(host, 3_000..3_010), 0);
        // At a rate like this a token is there again at once, whatever the old rate was.
        serve(host, each(Rate::per_second(1_000, 50)));
        thread::sleep(Duration::from_millis(200));
        assert_eq!(greedy(host, 4_000..4_050), 50);
        serve(host, Limits::NONE);
        assert_eq!(greedy(host, 5_000..5_100), 100);
    });
}

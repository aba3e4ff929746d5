//! Connections that backends refuse or leave unanswered.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{
    BackendFlags, Failures,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, backend, full_nat, read, service};

use crate::{
    cases::{FAMILIES, Family, clients},
    icmp::error,
    setting::{backend_of, know_clients},
};

/// Longer than a backend has to answer.
const OVERDUE: Duration = Duration::from_secs(1);

const REFUSED: Failures = Failures {
    refused: 1,
    unanswered: 0,
};
const UNANSWERED: Failures = Failures {
    refused: 0,
    unanswered: 1,
};
const NONE: Failures = Failures {
    refused: 0,
    unanswered: 0,
};

fn target(family: Family) -> SocketAddr {
    SocketAddr::new(family.backend, 8080)
}

fn served_at(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip, 80)
}

/// A service whose failures are counted.
fn watched(family: Family, protocol: u8, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    DesiredService {
        watches_failures: true,
        ..service("web", family.vip, protocol, &[80], backends)
    }
}

/// The same in every mode in which replies pass by.
fn in_every_mode(family: Family, protocol: u8) -> [DesiredService; 2] {
    let nat = watched(family, protocol, [backend(target(family))]);
    let sources: [IpAddr; 2] = ["10.2.0.1", "fd00:2::1"].map(|text| text.parse().unwrap());
    [nat.clone(), full_nat(nat, &sources, (1_024, 32_767), 3_600)]
}

/// Sends a client's packet. Returns it as the backend gets it.
fn send(host: &mut Host<'_>, transport: Transport, client: SocketAddr, service: SocketAddr) -> Packet {
    let request = Packet::new(transport, client, service);
    let outcome = host.receive(Interface::CLIENTS, &request.frame());
    assert_eq!(outcome.action, Action::Redirect, "{request:?}");
    let seen = read(&outcome.frame);
    Packet {
        source: seen.source,
        destination: seen.destination,
        ..request
    }
}

/// Has the backend answer what it got.
fn answer(host: &mut Host<'_>, seen: &Packet, transport: Transport) {
    let reply = Packet {
        transport,
        ..seen.answer()
    };
    let outcome = host.receive(Interface::BACKENDS, &reply.frame());
    assert_eq!(outcome.action, Action::Redirect, "{reply:?}");
}

/// What is counted while something is done.
fn failures(host: &mut Host<'_>, action: impl FnOnce(&mut Host<'_>)) -> Failures {
    let mut counted: BTreeMap<_, _> = host.count(action).failures;
    let (of_one, others) = (counted.pop_first(), counted);
    assert!(others.is_empty(), "{others:?}");
    of_one.map(|(_, failures)| failures).unwrap_or_default()
}

#[test]
fn a_connection_is_refused_by_a_reset_before_any_other_answer_and_counted_once() {
    for family in FAMILIES {
        for service in in_every_mode(family, TCP) {
            Host::run(|host| {
                host.serve([service]);
                know_clients(host);
                let mut clients = clients(family.client);
                let mut begin =
                    |host: &mut Host<'_>| send(host, Transport::syn(), clients.next().unwrap(), served_at(family));

                let seen = begin(host);
                assert_eq!(failures(host, |host| answer(host, &seen, Transport::rst())), REFUSED);
                assert_eq!(failures(host, |host| answer(host, &seen, Transport::rst())), NONE);

                let seen = begin(host);
                let counted = failures(host, |host| {
                    answer(host, &seen, Transport::syn_ack());
                    answer(host, &seen, Transport::rst());
                });
                assert_eq!(counted, NONE, "a connection that came about");
            });
        }
    }
}

#[test]
fn a_request_that_is_repeated_after_a_while_without_an_answer_is_counted_once() {
    for family in FAMILIES {
        Host::run(|host| {
            let services = in_every_mode(family, TCP);
            know_clients(host);
            for service in services {
                host.serve([service]);
                let [asks, is_answered] = [10_000, 10_001].map(|port| SocketAddr::new(family.client, port));
                let ask = |host: &mut Host<'_>, client| send(host, Transport::syn(), client, served_at(family));
                let counted = failures(host, |host| {
                    let seen = ask(host, is_answered);
                    answer(host, &seen, Transport::syn_ack());
                    ask(host, asks);
                    // Sooner than any backend could answer.
                    ask(host, asks);
                });
                assert_eq!(counted, NONE);
                thread::sleep(OVERDUE);
                assert_eq!(
                    failures(host, |host| {
                        ask(host, is_answered);
                    }),
                    NONE
                );
                assert_eq!(
                    failures(host, |host| {
                        ask(host, asks);
                    }),
                    UNANSWERED
                );
                thread::sleep(OVERDUE);
                assert_eq!(
                    failures(host, |host| {
                        ask(host, asks);
                    }),
                    NONE
                );
                host.serve([]);
            }
        });
    }
}

#[test]
fn a_datagram_or_connection_is_refused_by_an_error_of_the_backends_own() {
    for family in FAMILIES {
        let [port, host_unreachable] = if family.vip.is_ipv4() {
            [[3, 3], [3, 1]]
        } else {
            [[1, 4], [1, 3]]
        };
        for (protocol, transport) in [(TCP, Transport::syn()), (UDP, Transport::Udp)] {
            for service in in_every_mode(family, protocol) {
                Host::run(|host| {
                    host.serve([service]);
                    know_clients(host);
                    let client = SocketAddr::new(family.client, 10_000);
                    let seen = send(host, transport.clone(), client, served_at(family));
                    for (kind, from, expected) in [
                        (port, family.backend, REFUSED),
                        (port, family.other_backend, NONE),
                        (host_unreachable, family.backend, NONE),
                    ] {
                        let error = error(kind, from, &seen, 8);
                        let counted = failures(host, |host| {
                            let outcome = host.receive(Interface::BACKENDS, &error.frame());
                            assert_eq!(outcome.action, Action::Redirect);
                        });
                        assert_eq!(counted, expected, "{kind:?} from {from}");
                    }
                });
            }
        }
    }
}

#[test]
fn nothing_is_counted_where_nobody_asks_for_it() {
    for family in FAMILIES {
        for service in in_every_mode(family, TCP) {
            Host::run(|host| {
                host.serve([DesiredService {
                    watches_failures: false,
                    ..service
                }]);
                know_clients(host);
                let [refused, unanswered] = [10_000, 10_001].map(|port| SocketAddr::new(family.client, port));
                let counted = failures(host, |host| {
                    let seen = send(host, Transport::syn(), refused, served_at(family));
                    answer(host, &seen, Transport::rst());
                    send(host, Transport::syn(), unanswered, served_at(family));
                    thread::sleep(OVERDUE);
                    send(host, Transport::syn(), unanswered, served_at(family));
                });
                assert_eq!(counted, NONE);
            });
        }
    }
}

#[test]
fn only_a_connection_that_has_not_come_about_leaves_a_backend_that_keeps_flows_but_not_clients() {
    for family in FAMILIES {
        Host::run(|host| {
            let ejected = DesiredBackend {
                weight: 0,
                flags: BackendFlags::KEEPS_FLOWS
                    .with(BackendFlags::DOWN)
                    .with(BackendFlags::EXPECTED),
                ..backend(target(family))
            };
            let other = SocketAddr::new(family.other_backend, 8080);
            host.serve([watched(family, TCP, [backend(target(family))])]);
            know_clients(host);
            let [opening, open] = [10_000, 10_001].map(|port| SocketAddr::new(family.client, port));
            let packet = |transport, client| Packet::new(transport, client, served_at(family));
            for client in [opening, open] {
                let seen = send(host, Transport::syn(), client, served_at(family));
                if client == open {
                    answer(host, &seen, Transport::syn_ack());
                }
            }
            host.serve([watched(family, TCP, [ejected, backend(other)])]);
            assert_eq!(backend_of(host, &packet(Transport::syn(), opening)), other);
            assert_eq!(backend_of(host, &packet(Transport::syn(), open)), target(family));
            assert_eq!(backend_of(host, &packet(Transport::ack(), open)), target(family));
        });
    }
}

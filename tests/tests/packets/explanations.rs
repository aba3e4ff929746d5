//! What the data plane says of a packet, against what it then does with it.

use std::net::SocketAddr;

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{
    AffinityKind, BackendFlags, Explanation, NextHop, Reason, Tick,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Transport, backend, read, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::serve_all,
};

fn packet(protocol: u8, client: SocketAddr, service: SocketAddr) -> Packet {
    let transport = if protocol == TCP {
        Transport::syn()
    } else {
        Transport::Udp
    };
    Packet::new(transport, client, service)
}

/// What the data plane knows of a backend that serves.
const SERVES: BackendFlags = BackendFlags::KEEPS_FLOWS.with(BackendFlags::KEEPS_CLIENTS);

/// Asks twice, so that the first question cannot have changed the answer to the second.
#[track_caller]
fn explain(host: &mut Host<'_>, protocol: u8, client: SocketAddr, service: SocketAddr) -> Explanation {
    let mut answers = [Explanation::default(); 2];
    let counted = host.count(|host| {
        answers = [(); 2].map(|()| Explanation {
            moment: Tick::default(),
            ..host.explain(client, service, protocol)
        });
    });
    assert_eq!(counted, Ledger::default(), "the question leaves a trace");
    assert_eq!(answers[0], answers[1]);
    answers[0]
}

/// Asks where a packet would go, sends it, and compares. Returns what was said.
#[track_caller]
pub(crate) fn foretold(
    host: &mut Host<'_>,
    protocol: u8,
    client: SocketAddr,
    service: SocketAddr,
) -> (Reason, Explanation) {
    let explanation = explain(host, protocol, client, service);
    let reason = Reason::from_u32(explanation.reason).unwrap();
    let packet = packet(protocol, client, service);
    let mut outcome = None;
    let counted = host.count(|host| outcome = Some(host.receive(Interface::CLIENTS, &packet.frame())));
    let outcome = outcome.unwrap();
    let case = format!("{client} to {service}: {reason:?}");
    match reason {
        Reason::NoService => {
            outcome.assert(&case, Action::Pass, &packet.frame());
            assert_eq!(counted, Ledger::default(), "{case}");
        }
        Reason::NoBackend => {
            outcome.assert(&case, Action::Drop, &packet.frame());
            assert_eq!(counted, Ledger::drop("no_backend"), "{case}");
        }
        Reason::Denied => {
            outcome.assert(&case, Action::Drop, &packet.frame());
            assert_eq!(counted, Ledger::drop("source_denied"), "{case}");
        }
        Reason::Limited => {
            outcome.assert(&case, Action::Drop, &packet.frame());
            assert_eq!(counted, Ledger::drop("client_limited"), "{case}");
        }
        Reason::Flow | Reason::Maglev | Reason::Affinity | Reason::Pin | Reason::Connection => {
            assert_eq!(outcome.action, Action::Redirect, "{case}");
            let backend = &host.dataplane().state().backends[&explanation.backend];
            assert_eq!(read(&outcome.frame).destination.to_string(), backend.name, "{case}");
            let name = host.dataplane().state().services[&explanation.service].name.clone();
            let new_flows = u64::from(reason != Reason::Flow);
            assert_eq!(counted.services[&name].new_flows, new_flows, "{case}");
        }
    }
    (reason, explanation)
}

fn target(family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(family.host(number), 8080)
}

/// Three backends, the first of which has this weight and these flags.
fn web(family: Family, protocol: u8, weight: u32, flags: BackendFlags) -> DesiredService {
    let first = DesiredBackend {
        weight,
        flags,
        ..backend(target(family, 1))
    };
    let backends = [first, backend(target(family, 2)), backend(target(family, 3))];
    service("web", family.vip, protocol, &[], backends)
}

#[test]
fn the_answer_is_what_then_happens_and_leaves_no_trace() {
    for family in FAMILIES {
        for protocol in [TCP, UDP] {
            for affinity in [AffinityKind::ClientIpPort, AffinityKind::ClientIp] {
                Host::run(|host| {
                    let active = DesiredService {
                        affinity,
                        ..web(family, protocol, 100, SERVES)
                    };
                    host.serve([active]);
                    let vip = SocketAddr::new(family.vip, 80);
                    for (number, client) in clients(family.client).take(20).enumerate() {
                        let (reason, new) = foretold(host, protocol, client, vip);
                        let is_known = number > 0 && affinity == AffinityKind::ClientIp;
                        assert_eq!(reason, if is_known { Reason::Affinity } else { Reason::Maglev });
                        let (reason, known) = foretold(host, protocol, client, vip);
                        assert_eq!(reason, Reason::Flow);
                        assert_eq!((known.backend, known.slot), (new.backend, new.slot));
                    }
                });
            }
        }
    }
}

#[test]
fn the_answer_follows_what_becomes_of_a_backend() {
    for family in FAMILIES {
        Host::run(|host| {
            let vip = SocketAddr::new(family.vip, 80);
            host.serve([web(family, TCP, 100, SERVES)]);
            let first = host.backend_index("web", target(family, 1));
            let of_first: Vec<_> = clients(family.client)
                .take(100)
                .filter(|client| foretold(host, TCP, *client, vip).1.backend == first)
                .collect();
            assert!(!of_first.is_empty());

            host.serve([web(family, TCP, 0, BackendFlags::KEEPS_FLOWS)]);
            for &client in &of_first {
                let (reason, answer) = foretold(host, TCP, client, vip);
                assert_eq!((reason, answer.backend), (Reason::Flow, first), "draining");
                let (reason, answer) = foretold(host, TCP, client, SocketAddr::new(family.vip, 81));
                assert_eq!(reason, Reason::Maglev, "draining");
                assert_ne!(answer.backend, first, "draining");
            }
            host.serve([web(family, TCP, 0, BackendFlags::DOWN)]);
            for &client in &of_first {
                let (reason, answer) = foretold(host, TCP, client, vip);
                assert_eq!(reason, Reason::Maglev, "down");
                assert_ne!(answer.backend, first, "down");
            }
        });
    }
}

#[test]
fn where_nothing_serves_the_answer_says_what_is_missing() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            for protocol in [TCP, UDP] {
                for service in [SocketAddr::new(family.vip, 22), SocketAddr::new(family.other_vip, 80)] {
                    let client = SocketAddr::new(family.client, 40_000);
                    let (reason, answer) = foretold(host, protocol, client, service);
                    assert_eq!((reason, answer), (Reason::NoService, Explanation::default()));
                }
            }
        }
        host.serve([service("web", V4.vip, TCP, &[80], [])]);
        let client = SocketAddr::new(V4.client, 40_000);
        let (reason, answer) = foretold(host, TCP, client, SocketAddr::new(V4.vip, 80));
        assert_eq!((reason, answer.backend), (Reason::NoBackend, 0));
        assert_eq!(host.dataplane().state().services[&answer.service].name, "web");
    });
}

#[test]
fn a_backend_is_named_even_while_there_is_no_way_to_it() {
    Host::run(|host| {
        let unreachable = DesiredBackend {
            next_hop: NextHop::default(),
            ..backend(target(V4, 1))
        };
        host.serve([service("web", V4.vip, TCP, &[80], [unreachable])]);
        let (client, vip) = (SocketAddr::new(V4.client, 40_000), SocketAddr::new(V4.vip, 80));
        let answer = explain(host, TCP, client, vip);
        assert_eq!(Reason::from_u32(answer.reason), Some(Reason::Maglev));
        assert_eq!(answer.backend, host.backend_index("web", target(V4, 1)));
    });
}

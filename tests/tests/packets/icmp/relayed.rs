//! Errors about packets of flows whose backends are addressed by NAT.

use std::net::SocketAddr;

use balancer_common::{
    DropReason, Event,
    abi::{
        NextHop,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{
    Action, Extension, Host, Interface, Ledger, Packet, Transport, backend, next_hop, read, service,
};
use etherparse::ether_type;

use super::{echo_request, error, error_kinds, host_of, router};
use crate::{
    cases::{FAMILIES, clients, kinds},
    setting::{GATEWAY, answered, know_clients, name, serve_all, served_at, served_by},
};

#[test]
fn an_error_about_what_a_vip_has_sent_reaches_the_backend_that_has_sent_it() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let target = served_by(family);
            for ((case, transport, payload), client) in kinds().into_iter().zip(clients(family.client)) {
                let request = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport, client, served_at(family))
                };
                let reply = answered(host, &request, target);
                // What the router has seen, some hops on.
                let seen = Packet {
                    ttl: 33,
                    source: served_at(family),
                    ..reply.clone()
                };
                let sent = Packet { ttl: 33, ..reply };
                for kind in error_kinds(family) {
                    for quoted in [8, 18, 20, 1_000] {
                        let received = error(kind, router(family), &seen, quoted);
                        let expected = Packet {
                            destination: host_of(target.ip()),
                            payload: error(kind, router(family), &sent, quoted).payload,
                            ..received.forwarded(next_hop(target.ip()), host_of(target.ip()))
                        };
                        let counted = host.count(|host| {
                            host.receive(Interface::CLIENTS, &received.frame()).assert(
                                &format!("{kind:?} about {case}, {quoted} bytes"),
                                Action::Redirect,
                                &expected.frame(),
                            );
                        });
                        assert_eq!(counted, Ledger::event(Event::ErrorToBackend));
                    }
                }
            }
        }
    });
}

#[test]
fn an_error_about_what_a_backend_was_sent_reaches_the_client_from_the_vip() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let target = served_by(family);
            for ((case, transport, payload), client) in kinds().into_iter().zip(clients(family.client)) {
                let request = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport, client, served_at(family))
                };
                answered(host, &request, target);
                let seen = Packet {
                    ttl: 63,
                    destination: target,
                    ..request.clone()
                };
                let sent = Packet { ttl: 63, ..request };
                for from in [target.ip(), family.other_backend] {
                    for kind in error_kinds(family) {
                        for quoted in [8, 18, 20, 1_000] {
                            let received = error(kind, from, &seen, quoted);
                            let expected = Packet {
                                payload: error(kind, from, &sent, quoted).payload,
                                ..received.returned(Interface::CLIENTS.to(GATEWAY), host_of(family.vip))
                            };
                            let counted = host.count(|host| {
                                host.receive(Interface::BACKENDS, &received.frame()).assert(
                                    &format!("{kind:?} about {case}, {quoted} bytes"),
                                    Action::Redirect,
                                    &expected.frame(),
                                );
                            });
                            assert_eq!(counted, Ledger::event(Event::ErrorToClient));
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn an_error_finds_the_flow_it_is_about_among_many() {
    Host::run(|host| {
        know_clients(host);
        for family in FAMILIES {
            let backends = [family.backend, family.other_backend].map(|address| SocketAddr::new(address, 0));
            host.serve([service("web", family.vip, TCP, &[80, 443], backends.map(backend))]);
            let owners: Vec<_> = clients(family.client)
                .take(40)
                .map(|client| {
                    let request = Packet::new(Transport::syn(), client, SocketAddr::new(family.vip, 443));
                    let owner = read(&host.receive(Interface::CLIENTS, &request.frame()).frame).destination;
                    (request, owner)
                })
                .collect();
            assert!(
                backends
                    .iter()
                    .all(|backend| owners.iter().any(|(_, owner)| owner.ip() == backend.ip()))
            );
            for (request, owner) in owners {
                let received = error([1, 1], router(family), &request.answer(), 20);
                let received = Packet {
                    transport: Transport::Message(error_kinds(family)[0], [0; 4]),
                    ..received
                };
                let outcome = host.receive(Interface::CLIENTS, &received.frame());
                let sent = Packet {
                    source: owner,
                    ..request.answer()
                };
                let expected = Packet {
                    payload: error([1, 1], router(family), &sent, 20).payload,
                    ..received.forwarded(next_hop(owner.ip()), host_of(owner.ip()))
                };
                outcome.assert("to the owner", Action::Redirect, &expected.frame());
            }
        }
    });
}

#[test]
fn an_error_about_a_flow_of_a_shared_endpoint_names_the_port_that_the_client_used() {
    Host::run(|host| {
        know_clients(host);
        for family in FAMILIES {
            let target = served_by(family);
            host.serve([service("udp", family.vip, UDP, &[80, 443], [backend(target)])]);
            for (client, port) in clients(family.client).zip([443, 80]) {
                let request = Packet::new(Transport::Udp, client, SocketAddr::new(family.vip, port));
                answered(host, &request, target);
                let kind = error_kinds(family)[0];
                let received = error(
                    kind,
                    target.ip(),
                    &Packet {
                        destination: target,
                        ..request.clone()
                    },
                    16,
                );
                let expected = Packet {
                    payload: error(kind, target.ip(), &request, 16).payload,
                    ..received.returned(Interface::CLIENTS.to(GATEWAY), host_of(family.vip))
                };
                host.receive(Interface::BACKENDS, &received.frame()).assert(
                    "with the port",
                    Action::Redirect,
                    &expected.frame(),
                );
            }
        }
    });
}

#[test]
fn errors_about_anything_else_pass_as_they_came() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = Packet::new(Transport::Udp, client, served_at(family));
            let reply = request.answer();
            let kind = error_kinds(family)[0];
            let elsewhere = SocketAddr::new(family.gateway, 40_000);
            let cases = [
                (
                    "no service's port",
                    error(
                        kind,
                        router(family),
                        &Packet {
                            source: SocketAddr::new(family.vip, 81),
                            ..reply.clone()
                        },
                        20,
                    ),
                ),
                (
                    "no VIP",
                    error(
                        kind,
                        router(family),
                        &Packet {
                            source: SocketAddr::new(family.other_vip, 80),
                            ..reply.clone()
                        },
                        20,
                    ),
                ),
                (
                    "another transport's port",
                    error(
                        kind,
                        router(family),
                        &Packet {
                            transport: Transport::ack(),
                            source: SocketAddr::new(family.vip, 81),
                            ..reply.clone()
                        },
                        20,
                    ),
                ),
                ("too little is quoted", error(kind, router(family), &reply, 7)),
                (
                    "another sender is quoted",
                    Packet {
                        destination: host_of(family.other_vip),
                        ..error(kind, router(family), &reply, 20)
                    },
                ),
                (
                    "a message is quoted",
                    error(kind, router(family), &echo_request(family).answer(), 20),
                ),
                (
                    "a health probe of a backend",
                    error(
                        kind,
                        served_by(family).ip(),
                        &Packet {
                            source: elsewhere,
                            destination: served_by(family),
                            ..request.clone()
                        },
                        20,
                    ),
                ),
                (
                    "a flow that nobody has begun",
                    error(
                        kind,
                        served_by(family).ip(),
                        &Packet {
                            destination: served_by(family),
                            ..request.clone()
                        },
                        20,
                    ),
                ),
            ];
            for (case, packet) in cases {
                let counted = host.count(|host| {
                    host.receive(Interface::CLIENTS, &packet.frame())
                        .assert(case, Action::Pass, &packet.frame());
                });
                assert_eq!(counted, Ledger::default(), "{case}");
            }
        }
    });
}

#[test]
fn errors_that_cannot_be_sent_on_are_dropped_for_the_reason() {
    for family in FAMILIES {
        for reason in [
            DropReason::TtlExpired,
            DropReason::NoBackend,
            DropReason::NoNextHop,
            DropReason::NoRoute,
            DropReason::Malformed,
        ] {
            Host::run(|host| {
                let client = SocketAddr::new(family.client, 40_000);
                let target = served_by(family);
                let web = |backends| service("web", family.vip, UDP, &[80], backends);
                host.serve([web(vec![backend(target)])]);
                let request = Packet::new(Transport::Udp, client, served_at(family));
                answered(host, &request, target);
                let about_reply = error(error_kinds(family)[0], router(family), &request.answer(), 20);
                let packet = match reason {
                    DropReason::TtlExpired => Packet { ttl: 1, ..about_reply },
                    DropReason::NoBackend => {
                        host.serve([web(vec![])]);
                        about_reply
                    }
                    DropReason::NoNextHop => {
                        let mut unreachable = backend(target);
                        unreachable.next_hop = NextHop::default();
                        host.serve([web(vec![unreachable])]);
                        about_reply
                    }
                    DropReason::NoRoute => error(
                        error_kinds(family)[0],
                        target.ip(),
                        &Packet {
                            destination: target,
                            ..request
                        },
                        20,
                    ),
                    _ => about_reply,
                };
                let mut frame = packet.frame();
                if reason == DropReason::Malformed {
                    frame.truncate(packet.transport() + 7);
                }
                let counted = host.count(|host| {
                    host.receive(Interface::CLIENTS, &frame)
                        .assert(reason.label(), Action::Drop, &frame);
                });
                assert_eq!(counted, Ledger::drop(reason.label()));
            });
        }
    }
}

#[test]
fn what_is_around_an_error_stays_as_it_is() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let target = served_by(family);
            let request = Packet::new(Transport::Udp, client, served_at(family));
            answered(host, &request, target);
            let vlans = vec![
                (ether_type::PROVIDER_BRIDGING, 0x123),
                (ether_type::VLAN_TAGGED_FRAME, 0xabc),
            ];
            let (ipv4_options, extensions) = if family.vip.is_ipv4() {
                (vec![1; 40], Vec::new())
            } else {
                (
                    Vec::new(),
                    vec![Extension::HopByHop, Extension::Destination(2), Extension::Routing(0)],
                )
            };
            let around = |packet: Packet| Packet {
                vlans: vlans.clone(),
                ipv4_options: ipv4_options.clone(),
                extensions: extensions.clone(),
                padding: vec![0x5a; 5],
                ..packet
            };
            // What is quoted has options and extension headers of its own.
            let quoted = |source| Packet {
                vlans: Vec::new(),
                padding: Vec::new(),
                ..around(Packet {
                    source,
                    ..request.answer()
                })
            };
            let kind = error_kinds(family)[1];
            let received = around(error(kind, router(family), &quoted(served_at(family)), 20));
            let expected = Packet {
                payload: error(kind, router(family), &quoted(target), 20).payload,
                ..received.forwarded(next_hop(target.ip()), host_of(target.ip()))
            };
            host.receive(Interface::CLIENTS, &received.frame()).assert(
                name(family, UDP),
                Action::Redirect,
                &expected.frame(),
            );
        }
    });
}

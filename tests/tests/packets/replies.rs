//! From backends to clients.

use std::{collections::BTreeSet, net::SocketAddr};

use balancer_common::abi::protocol::TCP;
use balancer_tests::packet::{
    Action, Extension, Host, Interface, Ledger, Packet, Transport, backend, replied, service,
};
use etherparse::ether_type;

use crate::{
    cases::{FAMILIES, V4, V6, clients, kinds},
    setting::{CLIENT, GATEWAY, answered, backend_of, converse, know_clients, name, serve_all, served_at, served_by},
};

#[test]
fn every_kind_of_reply_carries_the_services_address_and_is_counted() {
    Host::run(|host| {
        know_clients(host);
        serve_all(host);
        for family in FAMILIES {
            for (client, neighbor) in [(family.neighbor, CLIENT), (family.client, GATEWAY)] {
                for ((kind, transport, payload), client) in kinds().into_iter().zip(clients(client)) {
                    let case = format!("{kind} to {client}");
                    let protocol = transport.protocol();
                    let reply = Packet {
                        payload: payload.to_vec(),
                        ..converse(host, family, transport, client)
                    };
                    let expected = reply.returned(Interface::CLIENTS.to(neighbor), served_at(family));
                    for _ in 0..2 {
                        let counted = host.count(|host| {
                            host.receive(Interface::BACKENDS, &reply.frame()).assert(
                                &case,
                                Action::Redirect,
                                &expected.frame(),
                            );
                        });
                        let traffic = replied(1, reply.length());
                        let backend = served_by(family).to_string();
                        assert_eq!(
                            counted,
                            Ledger::of(name(family, protocol), &backend, traffic, 0),
                            "{case}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn what_is_around_the_headers_of_a_reply_stays_as_it_is() {
    Host::run(|host| {
        know_clients(host);
        serve_all(host);
        let [v4, v6] = FAMILIES.map(|family| {
            let client = SocketAddr::new(family.client, 40_000);
            converse(host, family, Transport::ack(), client)
        });
        for (case, family, reply) in [
            (
                "a VLAN tag",
                V4,
                Packet {
                    vlans: vec![(ether_type::VLAN_TAGGED_FRAME, 7)],
                    ..v4.clone()
                },
            ),
            (
                "IPv4 options and padding",
                V4,
                Packet {
                    ipv4_options: vec![148, 4, 0, 0],
                    payload: Vec::new(),
                    padding: vec![0; 2],
                    ..v4.clone()
                },
            ),
            (
                "extension headers",
                V6,
                Packet {
                    extensions: vec![Extension::HopByHop, Extension::Destination(1)],
                    ..v6.clone()
                },
            ),
            ("the last hop but one", V4, Packet { ttl: 2, ..v4 }),
            ("the last hop but one", V6, Packet { ttl: 2, ..v6 }),
        ] {
            let expected = reply.returned(Interface::CLIENTS.to(GATEWAY), served_at(family));
            host.receive(Interface::BACKENDS, &reply.frame())
                .assert(case, Action::Redirect, &expected.frame());
        }
    });
}

#[test]
fn a_reply_leaves_by_the_interface_it_came_in_by_where_the_client_is_there() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            // On the backends' side.
            let client = SocketAddr::new(family.other_backend, 40_000);
            host.know_neighbor(Interface::BACKENDS, client.ip(), CLIENT);
            let reply = converse(host, family, Transport::ack(), client);
            let expected = reply.returned(Interface::BACKENDS.to(CLIENT), served_at(family));
            host.receive(Interface::BACKENDS, &reply.frame())
                .assert("one arm", Action::Transmit, &expected.frame());
        }
    });
}

#[test]
fn the_port_of_a_reply_is_the_one_that_the_client_knows() {
    // Ports of the service, port of the backend, port that the client talks to.
    let cases: [(&[u16], u16, u16); 6] = [
        (&[80], 8080, 80),
        (&[80], 0, 80),
        (&[80, 443], 0, 443),
        (&[80, 443], 8080, 80),
        (&[80, 443], 8080, 443),
        (&[], 0, 50_000),
    ];
    for family in FAMILIES {
        for (ports, backend_port, port) in cases {
            Host::run(|host| {
                know_clients(host);
                let target = SocketAddr::new(family.backend, backend_port);
                host.serve([service("web", family.vip, TCP, ports, [backend(target)])]);
                let vip = SocketAddr::new(family.vip, port);
                let request = Packet::new(Transport::syn(), SocketAddr::new(family.client, 40_000), vip);
                let seen = if backend_port == 0 { port } else { backend_port };
                let reply = answered(host, &request, SocketAddr::new(family.backend, seen));
                host.receive(Interface::BACKENDS, &reply.frame()).assert(
                    &format!("{port} of {ports:?} by way of {backend_port}"),
                    Action::Redirect,
                    &reply.returned(Interface::CLIENTS.to(GATEWAY), vip).frame(),
                );
            });
        }
    }
}

#[test]
fn what_belongs_to_no_flow_passes_untouched() {
    Host::run(|host| {
        know_clients(host);
        for family in FAMILIES {
            let vip = SocketAddr::new(family.vip, 80);
            let near = SocketAddr::new(family.backend, 8080);
            let other = SocketAddr::new(family.other_backend, 8080);
            host.serve([
                service("web", family.vip, TCP, &[80], [backend(near)]),
                service("api", family.other_vip, TCP, &[80], [backend(other)]),
            ]);
            let client = SocketAddr::new(family.client, 40_000);
            let reply = answered(host, &Packet::new(Transport::ack(), client, vip), near);
            let cases = [
                (
                    "a direct connection",
                    Packet {
                        destination: SocketAddr::new(family.client, 40_001),
                        ..reply.clone()
                    },
                ),
                (
                    "a direct connection of another client",
                    Packet {
                        destination: SocketAddr::new(family.neighbor, 40_000),
                        ..reply.clone()
                    },
                ),
                (
                    "another service's backend",
                    Packet {
                        source: other,
                        ..reply.clone()
                    },
                ),
                (
                    "another port of the backend",
                    Packet {
                        source: SocketAddr::new(family.backend, 22),
                        ..reply.clone()
                    },
                ),
                (
                    "no backend",
                    Packet {
                        source: SocketAddr::new(family.gateway, 8080),
                        ..reply.clone()
                    },
                ),
                (
                    "another protocol",
                    Packet {
                        transport: Transport::Udp,
                        ..reply.clone()
                    },
                ),
                (
                    "the end of a direct connection's last hop",
                    Packet {
                        destination: SocketAddr::new(family.client, 40_001),
                        ttl: 1,
                        ..reply.clone()
                    },
                ),
            ];
            for (case, packet) in cases {
                let counted = host.count(|host| {
                    host.receive(Interface::BACKENDS, &packet.frame())
                        .assert(case, Action::Pass, &packet.frame());
                });
                assert_eq!(counted, Ledger::default(), "{case}");
            }
            // The flow itself is unharmed.
            let outcome = host.receive(Interface::BACKENDS, &reply.frame());
            assert_eq!(outcome.action, Action::Redirect);
        }
    });
}

#[test]
fn only_the_backend_that_has_a_flow_answers_it() {
    Host::run(|host| {
        know_clients(host);
        for family in FAMILIES {
            // Two processes on one host and one on another.
            let backends = [
                (family.backend, 8080),
                (family.backend, 8081),
                (family.other_backend, 8080),
            ]
            .map(|(address, port)| SocketAddr::new(address, port));
            host.serve([service("web", family.vip, TCP, &[80], backends.map(backend))]);
            let mut chosen = BTreeSet::new();
            for client in clients(family.client).take(100) {
                let request = Packet::new(Transport::ack(), client, served_at(family));
                let owner = backend_of(host, &request);
                chosen.insert(owner);
                for source in backends {
                    let reply = Packet {
                        source,
                        ..request.answer()
                    };
                    let (action, expected) = if source == owner {
                        let returned = reply.returned(Interface::CLIENTS.to(GATEWAY), served_at(family));
                        (Action::Redirect, returned.frame())
                    } else {
                        (Action::Pass, reply.frame())
                    };
                    host.receive(Interface::BACKENDS, &reply.frame()).assert(
                        &format!("{source} on a flow of {owner}"),
                        action,
                        &expected,
                    );
                }
            }
            assert_eq!(chosen, BTreeSet::from(backends), "each has some flows");
        }
    });
}

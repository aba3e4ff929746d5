//! Errors about packets of flows that are forwarded in other ways than NAT.

use std::net::{IpAddr, SocketAddr};

use balancer::reconcile::DesiredService;
use balancer_common::{
    DropReason, Event,
    abi::{
        Forwarding,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{
    Action, Flow, Host, Interface, Ledger, Packet, Transport, Tunnel, backend, full_nat, next_hop, read, service,
};

use etherparse::Ipv4Header;

use super::{error, error_kinds, host_of, router};
use crate::{
    cases::{FAMILIES, Family, clients, kinds},
    setting::{GATEWAY, know_clients, name},
};

/// TCP and UDP port 80 of the VIP of `front`, served by the backend of `back` in this way.
fn serve(host: &mut Host<'_>, front: Family, back: Family, forwarding: Forwarding) -> SocketAddr {
    let port = if forwarding == Forwarding::FullNat { 8080 } else { 0 };
    let target = SocketAddr::new(back.backend, port);
    host.serve([TCP, UDP].map(|protocol| {
        let plain = service(name(front, protocol), front.vip, protocol, &[80], [backend(target)]);
        match forwarding {
            Forwarding::FullNat => {
                let sources: [IpAddr; 2] = ["10.2.0.1", "fd00:2::1"].map(|text| text.parse().unwrap());
                full_nat(plain, &sources, (1_024, 32_767), 3_600)
            }
            _ => DesiredService { forwarding, ..plain },
        }
    }));
    target
}

/// Sends a client's packet, and returns where it then seems to come from.
fn begin(host: &mut Host<'_>, request: &Packet) -> SocketAddr {
    let outcome = host.receive(Interface::CLIENTS, &request.frame());
    assert_eq!(outcome.action, Action::Redirect, "{request:?}");
    read(&outcome.frame).source
}

#[test]
fn under_full_nat_an_error_is_about_what_its_receiver_has_sent_and_from_whom_it_knows() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            let vip = SocketAddr::new(family.vip, 80);
            let target = serve(host, family, family, Forwarding::FullNat);
            for ((case, transport, payload), client) in kinds().into_iter().zip(clients(family.client)) {
                let request = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport.clone(), client, vip)
                };
                let source = begin(host, &request);
                for kind in error_kinds(family) {
                    for quoted in [8, 18, 20, 1_000] {
                        let case = format!("{kind:?} about {case}, {quoted} bytes");
                        let received = error(kind, router(family), &request.answer(), quoted);
                        let sent = Packet {
                            source: target,
                            destination: source,
                            ..request.answer()
                        };
                        let expected = Packet {
                            source: host_of(source.ip()),
                            payload: error(kind, router(family), &sent, quoted).payload,
                            ..received.forwarded(next_hop(target.ip()), host_of(target.ip()))
                        };
                        let counted = host.count(|host| {
                            host.receive(Interface::CLIENTS, &received.frame()).assert(
                                &case,
                                Action::Redirect,
                                &expected.frame(),
                            );
                        });
                        assert_eq!(counted, Ledger::event(Event::ErrorToBackend), "{case}");

                        let seen = Packet {
                            source,
                            destination: target,
                            ..request.clone()
                        };
                        let received = error(kind, family.other_backend, &seen, quoted);
                        let expected = Packet {
                            destination: host_of(client.ip()),
                            payload: error(kind, family.other_backend, &request, quoted).payload,
                            ..received.returned(Interface::CLIENTS.to(GATEWAY), host_of(family.vip))
                        };
                        let counted = host.count(|host| {
                            host.receive(Interface::BACKENDS, &received.frame()).assert(
                                &case,
                                Action::Redirect,
                                &expected.frame(),
                            );
                        });
                        assert_eq!(counted, Ledger::event(Event::ErrorToClient), "{case}");
                    }
                }
            }
        });
    }
}

#[test]
fn under_full_nat_an_error_about_a_flow_without_a_source_passes() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            serve(host, family, family, Forwarding::FullNat);
            let client = SocketAddr::new(family.client, 40_000);
            let request = Packet::new(Transport::Udp, client, SocketAddr::new(family.vip, 80));
            let received = error(error_kinds(family)[0], router(family), &request.answer(), 20).frame();
            let counted = host.count(|host| {
                host.receive(Interface::CLIENTS, &received)
                    .assert("no flow", Action::Pass, &received);
            });
            assert_eq!(counted, Ledger::default());
        });
    }
}

/// Kinds of errors, and what they are in the other IP version: type and code, and the last four bytes of the header.
fn crossings(from: Family) -> [([u8; 2], [u8; 2], [u8; 4]); 4] {
    if from.vip.is_ipv4() {
        [
            ([3, 1], [1, 0], [0; 4]),
            ([3, 3], [1, 4], [0; 4]),
            ([3, 4], [2, 0], 1_300_u32.to_be_bytes()),
            ([11, 0], [3, 0], [0; 4]),
        ]
    } else {
        [
            ([1, 0], [3, 1], [0; 4]),
            ([1, 4], [3, 3], [0; 4]),
            ([2, 0], [3, 4], 1_260_u32.to_be_bytes()),
            ([3, 0], [11, 0], [0; 4]),
        ]
    }
}

/// The bytes of an IP packet as they are after it was translated, which carries over neither flow label nor identification.
fn translated(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    if bytes[0] >> 4 == 6 {
        bytes[1] &= 0xf0;
        bytes[2..4].fill(0);
    } else {
        bytes[4..6].fill(0);
        let (mut header, _) = Ipv4Header::from_slice(&bytes).unwrap();
        header.header_checksum = header.calc_header_checksum();
        bytes[..20].copy_from_slice(&header.to_bytes());
    }
    bytes
}

/// The frame of an error that was translated, about a packet that was, too.
fn crossed(told: &Packet, about: &Packet, bytes: usize) -> Vec<u8> {
    let end = (about.transport() + bytes).min(about.frame().len());
    let told = Packet {
        payload: translated(&about.frame()[about.network()..end]),
        ..told.clone()
    };
    let frame = told.frame();
    [&frame[..told.network()], &translated(&frame[told.network()..])].concat()
}

#[test]
fn an_error_crosses_to_the_other_ip_version_with_the_packet_that_it_quotes() {
    for front in FAMILIES {
        let back = FAMILIES[usize::from(front.vip.is_ipv4())];
        Host::run(|host| {
            know_clients(host);
            let vip = SocketAddr::new(front.vip, 80);
            let target = serve(host, front, back, Forwarding::FullNat);
            let checked = kinds()
                .into_iter()
                .filter(|(_, transport, _)| !matches!(transport, Transport::UncheckedUdp));
            for ((case, transport, payload), client) in checked.zip(clients(front.client)) {
                let request = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport.clone(), client, vip)
                };
                let source = begin(host, &request);
                let seen = Packet {
                    source,
                    destination: target,
                    ..request.clone()
                };
                let message = |kind, number| Transport::Message(kind, number);
                for quoted in [8, 18, 20, 1_000] {
                    for (kind, told, number) in crossings(front) {
                        let case = format!("{kind:?} about {case} to the backend, {quoted} bytes");
                        let received = error(kind, router(front), &request.answer(), quoted);
                        let expected = Packet {
                            transport: message(told, number),
                            source: host_of(source.ip()),
                            ..received.forwarded(next_hop(target.ip()), host_of(target.ip()))
                        };
                        let expected = crossed(&expected, &seen.answer(), quoted);
                        let counted = host.count(|host| {
                            let outcome = host.receive(Interface::CLIENTS, &received.frame());
                            outcome.assert(&case, Action::Redirect, &expected);
                        });
                        assert_eq!(counted, Ledger::event(Event::ErrorToBackend), "{case}");
                    }
                    for (kind, told, number) in crossings(back) {
                        let case = format!("{kind:?} about {case} to the client, {quoted} bytes");
                        let received = error(kind, back.other_backend, &seen, quoted);
                        let expected = Packet {
                            transport: message(told, number),
                            destination: host_of(client.ip()),
                            ..received.returned(Interface::CLIENTS.to(GATEWAY), host_of(front.vip))
                        };
                        let expected = crossed(&expected, &request, quoted);
                        let counted = host.count(|host| {
                            let outcome = host.receive(Interface::BACKENDS, &received.frame());
                            outcome.assert(&case, Action::Redirect, &expected);
                        });
                        assert_eq!(counted, Ledger::event(Event::ErrorToClient), "{case}");
                    }
                }
            }
        });
    }
}

#[test]
fn an_error_that_the_other_ip_version_does_not_have_goes_no_further() {
    for front in FAMILIES {
        let back = FAMILIES[usize::from(front.vip.is_ipv4())];
        Host::run(|host| {
            know_clients(host);
            serve(host, front, back, Forwarding::FullNat);
            let client = SocketAddr::new(front.client, 40_000);
            let request = Packet::new(Transport::Udp, client, SocketAddr::new(front.vip, 80));
            begin(host, &request);
            let [.., problem] = error_kinds(front);
            let received = error(problem, router(front), &request.answer(), 20).frame();
            let counted = host.count(|host| {
                let outcome = host.receive(Interface::CLIENTS, &received);
                outcome.assert("across", Action::Drop, &received);
            });
            assert_eq!(counted, Ledger::drop(DropReason::Untranslatable.label()));
        });
    }
}

#[test]
fn an_error_reaches_a_backend_that_has_the_vip_as_it_is() {
    for (front, back) in FAMILIES
        .into_iter()
        .flat_map(|front| FAMILIES.map(|back| (front, back)))
    {
        for forwarding in [Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
            if forwarding == Forwarding::Dsr && front.vip.is_ipv4() != back.vip.is_ipv4() {
                continue;
            }
            Host::run(|host| {
                serve(host, front, back, forwarding);
                for ((_, transport, payload), client) in kinds().into_iter().zip(clients(front.client)) {
                    let request = Packet {
                        payload: payload.to_vec(),
                        ..Packet::new(transport.clone(), client, SocketAddr::new(front.vip, 80))
                    };
                    host.receive(Interface::CLIENTS, &request.frame());
                    for kind in error_kinds(front) {
                        let case = format!("{kind:?} by {forwarding:?}");
                        let received = error(kind, router(front), &request.answer(), 20);
                        let routed = received.routed(next_hop(back.backend));
                        let mut outcome = None;
                        let counted = host.count(|host| {
                            outcome = Some(host.receive(Interface::CLIENTS, &received.frame()));
                        });
                        let outcome = outcome.unwrap();
                        let expected = if forwarding == Forwarding::Dsr {
                            routed.frame()
                        } else {
                            let tunnel = Tunnel {
                                forwarding,
                                source: Interface::BACKENDS.address_of(back.backend),
                                destination: back.backend,
                            };
                            tunnel.frame(&routed, Flow::of(&outcome.frame))
                        };
                        outcome.assert(&case, Action::Redirect, &expected);
                        assert_eq!(counted, Ledger::event(Event::ErrorToBackend), "{case}");
                    }
                }
            });
        }
    }
}

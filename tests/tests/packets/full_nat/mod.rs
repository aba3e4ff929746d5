//! Both ends replaced, within an IP version and between the two.

mod ports;

use std::net::{IpAddr, SocketAddr};

use balancer::reconcile::DesiredService;
use balancer_common::{
    DropReason,
    abi::{
        BackendFlags,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{
    Action, Host, Interface, Ledger, Packet, Report, Transport, backend, full_nat, next_hop, read, received, replied,
    service,
};

use crate::{
    cases::{FAMILIES, Family, V4, V6, additions, clients, kinds},
    setting::{CLIENT, GATEWAY, assert_told_by, know_clients},
};

/// The addresses that the balancer sends from.
fn sources() -> [IpAddr; 4] {
    ["10.2.0.1", "10.2.0.2", "fd00:2::1", "fd00:2::2"].map(|text| text.parse().unwrap())
}

const PORTS: (u16, u16) = (1_024, 32_767);

/// An hour.
const IDLE: u32 = 3_600;

/// Port 80 of the VIP of `front`, served by port 8080 of the backend of `back`.
fn web(front: Family, protocol: u8, back: Family, ports: (u16, u16), idle: u32) -> DesiredService {
    let target = SocketAddr::new(back.backend, 8080);
    let plain = service("web", front.vip, protocol, &[80], [backend(target)]);
    full_nat(plain, &sources(), ports, idle)
}

/// Every way from one IP version to one.
fn crossings() -> impl Iterator<Item = (Family, Family)> {
    FAMILIES
        .into_iter()
        .flat_map(|front| FAMILIES.map(|back| (front, back)))
}

/// Sends a client's packet and returns what the backend has to see as its source.
fn forwarded(host: &mut Host<'_>, case: &str, packet: &Packet, target: SocketAddr) -> SocketAddr {
    let outcome = host.receive(Interface::CLIENTS, &packet.frame());
    assert_eq!(outcome.action, Action::Redirect, "{case}");
    let source = read(&outcome.frame).source;
    outcome.assert(
        case,
        Action::Redirect,
        &packet.translated(next_hop(target.ip()), source, target),
    );
    assert!(sources().contains(&source.ip()), "{case}: {source}");
    assert!((PORTS.0..=PORTS.1).contains(&source.port()), "{case}: {source}");
    source
}

#[test]
fn every_kind_of_packet_goes_there_and_back_and_is_counted() {
    Host::run(|host| {
        know_clients(host);
        // Each case has a port of its own, so that its flow is a new one.
        let cases = crossings().flat_map(|crossing| kinds().into_iter().map(move |kind| (crossing, kind)));
        for (port, ((front, back), (kind, transport, payload))) in (40_000..).zip(cases) {
            // IPv6 does without a checksum nowhere that IPv4 comes from.
            if matches!(transport, Transport::UncheckedUdp) && front.vip.is_ipv4() != back.vip.is_ipv4() {
                continue;
            }
            let protocol = transport.protocol();
            host.serve([web(front, protocol, back, PORTS, IDLE)]);
            let (vip, target) = (SocketAddr::new(front.vip, 80), SocketAddr::new(back.backend, 8080));
            for (client, neighbor) in [(front.neighbor, CLIENT), (front.client, GATEWAY)] {
                let client = SocketAddr::new(client, port);
                let case = format!("{kind} of {client} to {vip} at {target}");
                let request = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport.clone(), client, vip)
                };
                let mut source = None;
                for new_flows in [1, 0] {
                    let counted = host.count(|host| {
                        let seen = forwarded(host, &case, &request, target);
                        assert_eq!(*source.get_or_insert(seen), seen, "{case}");
                    });
                    let traffic = received(1, request.length(), new_flows);
                    assert_eq!(
                        counted,
                        Ledger::of("web", &target.to_string(), traffic, new_flows),
                        "{case}"
                    );
                }
                let reply = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport.clone(), target, source.unwrap())
                };
                for _ in 0..2 {
                    let counted = host.count(|host| {
                        host.receive(Interface::BACKENDS, &reply.frame()).assert(
                            &case,
                            Action::Redirect,
                            &reply.translated(Interface::CLIENTS.to(neighbor), vip, client),
                        );
                    });
                    let traffic = replied(1, reply.length());
                    assert_eq!(counted, Ledger::of("web", &target.to_string(), traffic, 0), "{case}");
                }
            }
        }
    });
}

#[test]
fn what_is_around_the_headers_goes_along_where_there_is_a_place_for_it() {
    for (front, back) in crossings() {
        let crosses = front.vip.is_ipv4() != back.vip.is_ipv4();
        Host::run(|host| {
            know_clients(host);
            let (vip, target) = (SocketAddr::new(front.vip, 80), SocketAddr::new(back.backend, 8080));
            for transport in [Transport::ack(), Transport::Udp] {
                host.serve([web(front, transport.protocol(), back, PORTS, IDLE)]);
                let client = SocketAddr::new(front.client, 40_000);
                let request = Packet::new(transport.clone(), client, vip);
                let source = forwarded(host, "plain", &request, target);
                let reply = Packet::new(transport, target, source);
                for (case, add) in additions(front) {
                    let mut request = request.clone();
                    add(&mut request);
                    if crosses && !(request.ipv4_options.is_empty() && request.extensions.is_empty()) {
                        dropped(host, case, Interface::CLIENTS, &request, DropReason::Untranslatable);
                    } else {
                        assert_eq!(forwarded(host, case, &request, target), source, "{case}");
                    }
                }
                for (case, add) in additions(back) {
                    let mut reply = reply.clone();
                    add(&mut reply);
                    if crosses && !(reply.ipv4_options.is_empty() && reply.extensions.is_empty()) {
                        dropped(host, case, Interface::BACKENDS, &reply, DropReason::Untranslatable);
                    } else if reply.payload.len() > 1_500 {
                        let fits = match (back.vip.is_ipv4(), crosses) {
                            (true, true) => 1_480,
                            (false, true) => 1_520,
                            _ => 1_500,
                        };
                        told(host, case, Interface::BACKENDS, &reply, Report::TooBig(fits));
                    } else {
                        host.receive(Interface::BACKENDS, &reply.frame()).assert(
                            case,
                            Action::Redirect,
                            &reply.translated(Interface::CLIENTS.to(GATEWAY), vip, client),
                        );
                    }
                }
            }
        });
    }
}

/// The address that the packet was sent to tells its sender.
#[track_caller]
fn told(host: &mut Host<'_>, case: &str, ingress: Interface, packet: &Packet, report: Report) {
    assert_told_by(host, case, ingress, packet, packet.destination.ip(), report);
}

#[track_caller]
fn dropped(host: &mut Host<'_>, case: &str, ingress: Interface, packet: &Packet, reason: DropReason) {
    let frame = packet.frame();
    let counted = host.count(|host| host.receive(ingress, &frame).assert(case, Action::Drop, &frame));
    assert_eq!(counted.drops, Ledger::drop(reason.label()).drops, "{case}");
}

#[test]
fn a_packet_fills_the_mtu_in_the_other_ip_version_and_no_more() {
    Host::run(|host| {
        know_clients(host);
        let mut narrow = web(V4, TCP, V6, PORTS, IDLE);
        narrow.backends[0].mtu = 1_500;
        host.serve([narrow]);
        let (vip, target) = (SocketAddr::new(V4.vip, 80), SocketAddr::new(V6.backend, 8080));
        let request = |payload| Packet {
            payload: vec![0xa5; payload],
            ..Packet::new(Transport::ack(), SocketAddr::new(V4.client, 40_000), vip)
        };
        // 20 bytes of TCP, and of IPv4 or IPv6 so much that together they are 1,500.
        forwarded(host, "fits", &request(1_440), target);
        let larger = request(1_441);
        told(host, "too big", Interface::CLIENTS, &larger, Report::TooBig(1_480));

        host.serve([web(V6, TCP, V4, PORTS, IDLE)]);
        let (vip, target) = (SocketAddr::new(V6.vip, 80), SocketAddr::new(V4.backend, 8080));
        let client = SocketAddr::new(V6.client, 40_000);
        let source = forwarded(host, "plain", &Packet::new(Transport::ack(), client, vip), target);
        let reply = |payload| Packet {
            payload: vec![0xa5; payload],
            ..Packet::new(Transport::ack(), target, source)
        };
        let fits = reply(1_440);
        host.receive(Interface::BACKENDS, &fits.frame()).assert(
            "fits",
            Action::Redirect,
            &fits.translated(Interface::CLIENTS.to(GATEWAY), vip, client),
        );
        let larger = reply(1_441);
        told(host, "too big", Interface::BACKENDS, &larger, Report::TooBig(1_480));
    });
}

#[test]
fn a_datagram_without_a_checksum_cannot_become_ipv6() {
    Host::run(|host| {
        know_clients(host);
        host.serve([web(V4, UDP, V6, PORTS, IDLE)]);
        let client = SocketAddr::new(V4.client, 40_000);
        let request = Packet::new(Transport::UncheckedUdp, client, SocketAddr::new(V4.vip, 80));
        dropped(
            host,
            "request",
            Interface::CLIENTS,
            &request,
            DropReason::Untranslatable,
        );

        host.serve([web(V6, UDP, V4, PORTS, IDLE)]);
        let client = SocketAddr::new(V6.client, 40_000);
        let target = SocketAddr::new(V4.backend, 8080);
        let request = Packet::new(Transport::UncheckedUdp, client, SocketAddr::new(V6.vip, 80));
        let source = forwarded(host, "IPv4 needs none", &request, target);
        let reply = Packet::new(Transport::UncheckedUdp, target, source);
        dropped(host, "reply", Interface::BACKENDS, &reply, DropReason::Untranslatable);
    });
}

#[test]
fn a_backends_packet_to_no_flow_is_the_hosts() {
    for (front, back) in crossings() {
        Host::run(|host| {
            know_clients(host);
            host.serve([web(front, TCP, back, PORTS, IDLE)]);
            let client = SocketAddr::new(front.client, 40_000);
            let target = SocketAddr::new(back.backend, 8080);
            let request = Packet::new(Transport::ack(), client, SocketAddr::new(front.vip, 80));
            let source = forwarded(host, "flow", &request, target);
            let elsewhere = sources()
                .into_iter()
                .find(|address| address.is_ipv4() == source.is_ipv4() && *address != source.ip());
            let elsewhere = SocketAddr::new(elsewhere.unwrap(), source.port());
            let neighbors = SocketAddr::new(source.ip(), source.port() ^ 1);
            let other_port = SocketAddr::new(target.ip(), 8081);
            let other_backend = SocketAddr::new(back.other_backend, 8080);
            for (case, transport, from, to) in [
                ("a port that no flow has", Transport::ack(), target, neighbors),
                ("an address that no flow has", Transport::ack(), target, elsewhere),
                ("another port of the backend", Transport::ack(), other_port, source),
                ("another backend", Transport::ack(), other_backend, source),
                ("another protocol", Transport::Udp, target, source),
            ] {
                let frame = Packet::new(transport, from, to).frame();
                let counted = host.count(|host| {
                    host.receive(Interface::BACKENDS, &frame)
                        .assert(case, Action::Pass, &frame);
                });
                assert_eq!(counted, Ledger::default(), "{case}");
            }
        });
    }
}

#[test]
fn a_reply_at_its_last_hop_or_without_a_route_is_dropped() {
    for (front, back) in crossings() {
        Host::run(|host| {
            host.serve([web(front, TCP, back, PORTS, IDLE)]);
            let client = SocketAddr::new(front.client, 40_000);
            let target = SocketAddr::new(back.backend, 8080);
            let request = Packet::new(Transport::ack(), client, SocketAddr::new(front.vip, 80));
            let source = forwarded(host, "flow", &request, target);
            let reply = Packet::new(Transport::ack(), target, source);
            dropped(host, "no route", Interface::BACKENDS, &reply, DropReason::NoRoute);
            for ttl in [0, 1] {
                let late = Packet { ttl, ..reply.clone() };
                told(host, "too late", Interface::BACKENDS, &late, Report::TimeExceeded);
            }
        });
    }
}

#[test]
fn ports_of_one_service_that_share_a_backends_port_are_told_apart() {
    for (front, back) in crossings() {
        Host::run(|host| {
            know_clients(host);
            let target = SocketAddr::new(back.backend, 8080);
            let plain = service("web", front.vip, TCP, &[80, 443], [backend(target)]);
            host.serve([full_nat(plain, &sources(), PORTS, IDLE)]);
            let client = SocketAddr::new(front.client, 40_000);
            let vips = [80, 443].map(|port| SocketAddr::new(front.vip, port));
            let seen = vips.map(|vip| forwarded(host, "flow", &Packet::new(Transport::syn(), client, vip), target));
            assert_ne!(seen[0], seen[1]);
            for (vip, source) in vips.into_iter().zip(seen) {
                let reply = Packet::new(Transport::ack(), target, source);
                host.receive(Interface::BACKENDS, &reply.frame()).assert(
                    "reply",
                    Action::Redirect,
                    &reply.translated(Interface::CLIENTS.to(GATEWAY), vip, client),
                );
            }
        });
    }
}

#[test]
fn a_backend_may_serve_by_full_nat_and_by_nat_at_once() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            let target = SocketAddr::new(family.backend, 8080);
            let mapped = service("mapped", family.vip, TCP, &[80], [backend(target)]);
            let direct = service("direct", family.other_vip, TCP, &[80], [backend(target)]);
            host.serve([full_nat(mapped, &sources(), PORTS, IDLE), direct]);
            let client = SocketAddr::new(family.client, 40_000);
            let [mapped, direct] = [family.vip, family.other_vip].map(|vip| SocketAddr::new(vip, 80));
            let source = forwarded(host, "mapped", &Packet::new(Transport::syn(), client, mapped), target);
            let request = Packet::new(Transport::syn(), client, direct);
            host.receive(Interface::CLIENTS, &request.frame()).assert(
                "direct",
                Action::Redirect,
                &request.forwarded(next_hop(target.ip()), target).frame(),
            );
            for (to, vip) in [(source, mapped), (client, direct)] {
                let reply = Packet::new(Transport::ack(), target, to);
                host.receive(Interface::BACKENDS, &reply.frame()).assert(
                    "reply",
                    Action::Redirect,
                    &reply.translated(Interface::CLIENTS.to(GATEWAY), vip, client),
                );
            }
        });
    }
}

#[test]
fn a_flow_that_moves_to_another_backend_gets_a_mapping_there() {
    for (front, back) in crossings() {
        Host::run(|host| {
            know_clients(host);
            let targets = [back.backend, back.other_backend].map(|address| SocketAddr::new(address, 8080));
            let with = |down: Option<SocketAddr>| {
                let backends = targets.map(|target| {
                    let mut backend = backend(target);
                    if down == Some(target) {
                        backend.weight = 0;
                        backend.flags = BackendFlags::DOWN;
                    }
                    backend
                });
                full_nat(service("web", front.vip, TCP, &[80], backends), &sources(), PORTS, IDLE)
            };
            host.serve([with(None)]);
            let client = SocketAddr::new(front.client, 40_000);
            let vip = SocketAddr::new(front.vip, 80);
            let request = Packet::new(Transport::ack(), client, vip);
            let first = read(&host.receive(Interface::CLIENTS, &request.frame()).frame).destination;
            let [other] = targets
                .into_iter()
                .filter(|target| *target != first)
                .collect::<Vec<_>>()[..]
            else {
                panic!("{first} is not one of the backends");
            };
            host.serve([with(Some(first))]);
            let source = forwarded(host, "moved", &request, other);
            let reply = Packet::new(Transport::ack(), other, source);
            host.receive(Interface::BACKENDS, &reply.frame()).assert(
                "reply",
                Action::Redirect,
                &reply.translated(Interface::CLIENTS.to(GATEWAY), vip, client),
            );
        });
    }
}

#[test]
fn a_flow_keeps_its_source_when_others_come_to_be_used() {
    Host::run(|host| {
        let target = SocketAddr::new(V4.backend, 8080);
        let with = |addresses: &[IpAddr], ports| {
            let plain = service("web", V4.vip, TCP, &[80], [backend(target)]);
            full_nat(plain, addresses, ports, IDLE)
        };
        let requests: Vec<_> = clients(V4.client)
            .take(20)
            .map(|client| Packet::new(Transport::ack(), client, SocketAddr::new(V4.vip, 80)))
            .collect();
        let seen = |host: &mut Host<'_>| -> Vec<SocketAddr> {
            let source = |request: &Packet| read(&host.receive(Interface::CLIENTS, &request.frame()).frame).source;
            requests.iter().map(source).collect()
        };
        let [one, two, ..] = sources();
        host.serve([with(&[one], (1_024, 2_047))]);
        let first = seen(host);
        assert!(
            first
                .iter()
                .all(|source| source.ip() == one && (1_024..=2_047).contains(&source.port()))
        );
        for (addresses, ports) in [(&[one, two][..], PORTS), (&[two], PORTS), (&[two], (4_000, 5_000))] {
            host.serve([with(addresses, ports)]);
            assert_eq!(seen(host), first, "{addresses:?} {ports:?}");
        }
        let new = Packet::new(
            Transport::ack(),
            SocketAddr::new(V4.client, 9_999),
            SocketAddr::new(V4.vip, 80),
        );
        let source = forwarded(host, "new", &new, target);
        assert!(
            source.ip() == two && (4_000..=5_000).contains(&source.port()),
            "{source}"
        );
    });
}

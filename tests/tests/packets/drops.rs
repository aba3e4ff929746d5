//! What is dropped, and for which reason.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use balancer::{
    config::Sources,
    reconcile::{DesiredBackend, DesiredService, Operation},
};
use balancer_common::{
    DropReason,
    abi::{BackendFlags, Limits, NextHop, WhenDown, protocol::TCP},
    token_bucket::Rate,
};
use balancer_tests::packet::{
    Action, Extension, Host, Interface, Ledger, Packet, Report, Transport, backend, full_nat, service,
};

use crate::{
    cases::{FAMILIES, Family, V4, V6},
    setting::{answered, assert_dropped, assert_passed, assert_told, know_clients, serve_all, served_at, served_by},
};

/// A service that does not admit the client.
fn denying(family: Family) -> DesiredService {
    let denied = Sources {
        deny: vec![family.client.into()],
        ..Sources::default()
    };
    DesiredService {
        source_lists: Some(Arc::new(denied)),
        ..service("web", family.vip, TCP, &[80], [backend(served_by(family))])
    }
}

/// A service of which one flow may begin an hour: for each client, or for all of them.
fn limiting(family: Family, reason: DropReason) -> DesiredService {
    let hourly = Rate {
        interval: 3_600_000_000_000,
        burst: 1,
    };
    let mut limits = Limits::NONE;
    if reason == DropReason::ClientLimited {
        limits.per_client = hourly;
    } else {
        limits.in_all = hourly;
    }
    DesiredService {
        limits,
        ..service("web", family.vip, TCP, &[80], [backend(served_by(family))])
    }
}

/// A packet that the service does not admit, made from one that it would.
fn unwelcome(host: &mut Host<'_>, family: Family, request: &Packet, reason: DropReason) -> Packet {
    if reason == DropReason::SourceDenied {
        host.serve([denying(family)]);
        return request.clone();
    }
    host.serve([limiting(family, reason)]);
    answered(host, request, served_by(family));
    // Of a second flow.
    Packet {
        source: SocketAddr::new(family.client, 40_001),
        ..request.clone()
    }
}

/// Makes a packet that has to be dropped for this reason, and says where it comes in. `None` if nothing can make one.
fn provoke(host: &mut Host<'_>, family: Family, reason: DropReason) -> Option<(Interface, Vec<u8>)> {
    let client = SocketAddr::new(family.client, 40_000);
    let (vip, target) = (SocketAddr::new(family.vip, 80), SocketAddr::new(family.backend, 8080));
    let request = Packet::new(Transport::ack(), client, vip);
    host.serve([service("web", family.vip, TCP, &[80], [backend(target)])]);
    let awaited = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
    let kept = |host: &mut Host<'_>, request: &Packet, when_down, flags| {
        answered(host, request, target);
        let down = DesiredBackend {
            flags,
            ..backend(target)
        };
        host.serve([DesiredService {
            when_down,
            ..service("web", family.vip, TCP, &[80], [down])
        }]);
        request.clone()
    };
    let from_client = |packet: &Packet| (Interface::CLIENTS, packet.frame());
    Some(match reason {
        // Packets that are handed over have more in front than any driver leaves.
        DropReason::NoHeadroom => return None,
        DropReason::Malformed => {
            let mut frame = request.frame();
            frame.truncate(request.transport() + 19);
            (Interface::CLIENTS, frame)
        }
        DropReason::Fragment => from_client(&fragment(&request, 100, false)),
        DropReason::TtlExpired => from_client(&Packet { ttl: 1, ..request }),
        DropReason::NoBackend => {
            host.serve([service("web", family.vip, TCP, &[80], [])]);
            from_client(&request)
        }
        DropReason::NoNextHop => {
            let mut unreachable = backend(target);
            unreachable.next_hop = NextHop::default();
            host.serve([service("web", family.vip, TCP, &[80], [unreachable])]);
            from_client(&request)
        }
        DropReason::NoRoute => (Interface::BACKENDS, answered(host, &request, target).frame()),
        DropReason::NoNeighbor => {
            let neighbor = SocketAddr::new(family.neighbor, 40_000);
            let request = Packet::new(Transport::ack(), neighbor, vip);
            (Interface::BACKENDS, answered(host, &request, target).frame())
        }
        DropReason::ForwardingDisabled => {
            for version in ["ipv4", "ipv6"] {
                host.sysctl(&format!("net.{version}.conf.{}.forwarding", Interface::OTHER.name), "0");
            }
            (Interface::OTHER, answered(host, &request, target).frame())
        }
        DropReason::TooBig => {
            know_clients(host);
            let reply = Packet {
                payload: vec![0; 1_500],
                ..answered(host, &request, target)
            };
            (Interface::BACKENDS, reply.frame())
        }
        DropReason::RouteRefused => {
            host.ip(&format!("route add prohibit {}", family.client));
            (Interface::BACKENDS, answered(host, &request, target).frame())
        }
        DropReason::BackendDown => from_client(&kept(host, &request, WhenDown::Drop, awaited)),
        DropReason::Rejected => from_client(&kept(host, &request, WhenDown::Reject, awaited)),
        DropReason::Suspended => from_client(&kept(host, &request, WhenDown::Reassign, BackendFlags::SUSPENDED)),
        DropReason::Internal => {
            // What the reconciler would never do: full NAT without sources.
            let plain = service("web", family.vip, TCP, &[80], [backend(target)]);
            host.serve([full_nat(plain, &[], (1_024, 32_767), 60)]);
            let index = host.dataplane().state().index.services["web"];
            let broken = Operation::RemoveSources { index };
            host.dataplane().apply(vec![broken]).unwrap();
            from_client(&request)
        }
        DropReason::SourceDenied | DropReason::ClientLimited | DropReason::ServiceLimited => {
            from_client(&unwelcome(host, family, &request, reason))
        }
        DropReason::PortsExhausted => {
            let plain = service("web", family.vip, TCP, &[80], [backend(target)]);
            host.serve([full_nat(plain, &[], (1_024, 32_767), 60)]);
            from_client(&request)
        }
        DropReason::Untranslatable => {
            let other = if family.vip.is_ipv4() { V6 } else { V4 };
            let plain = service(
                "web",
                family.vip,
                TCP,
                &[80],
                [backend(SocketAddr::new(other.backend, 80))],
            );
            host.serve([full_nat(plain, &[other.gateway], (1_024, 32_767), 60)]);
            from_client(&Packet {
                ipv4_options: vec![1; 4],
                extensions: vec![Extension::HopByHop],
                ..request
            })
        }
    })
}

#[test]
fn every_reason_drops_its_ipv4_packet_untouched_or_tells_its_sender_and_counts_it_once() {
    assert_counted(V4);
}

#[test]
fn every_reason_drops_its_ipv6_packet_untouched_or_tells_its_sender_and_counts_it_once() {
    assert_counted(V6);
}

fn assert_counted(family: Family) {
    const TOLD: [DropReason; 3] = [DropReason::TtlExpired, DropReason::TooBig, DropReason::Rejected];
    for &reason in DropReason::ALL {
        Host::run(|host| {
            let Some((ingress, frame)) = provoke(host, family, reason) else {
                return;
            };
            if TOLD.contains(&reason) {
                let mut action = Action::Drop;
                let counted = host.count(|host| action = host.receive(ingress, &frame).action);
                assert_eq!(action, Action::Transmit, "{reason:?}");
                assert_eq!(counted, Ledger::told(reason.label()));
            } else {
                assert_dropped(host, reason.label(), ingress, &frame, reason);
            }
        });
    }
}

/// A fragment of a packet, from `offset` on in units of eight bytes.
fn fragment(packet: &Packet, offset: u16, more: bool) -> Packet {
    let mut fragment = packet.clone();
    match packet.destination {
        SocketAddr::V4(_) => fragment.ipv4_fragment = (offset, more),
        SocketAddr::V6(_) => fragment.extensions.push(Extension::Fragment { offset, more }),
    }
    fragment
}

#[test]
fn later_fragments_for_a_service_without_a_first_one_are_dropped_and_others_pass() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            for transport in [Transport::ack(), Transport::Udp] {
                for (case, offset, more) in [("middle", 100, true), ("last", 100, false)] {
                    let client = SocketAddr::new(family.client, 40_000);
                    let packet = Packet::new(transport.clone(), client, served_at(family));
                    let frame = fragment(&packet, offset, more).frame();
                    assert_dropped(host, case, Interface::CLIENTS, &frame, DropReason::Fragment);
                    let destination = SocketAddr::new(family.other_vip, 80);
                    assert_passed(
                        host,
                        case,
                        &fragment(&Packet { destination, ..packet }, offset, more).frame(),
                    );
                }
            }
        }
    });
}

/// Something that makes a packet contradict itself, given the offsets of its IP and its transport header.
type Damage = fn(frame: &mut Vec<u8>, network: usize, transport: usize);

const DAMAGE_TO_IPV4: [(&str, Damage); 7] = [
    ("another version", |frame, network, _| frame[network] = 0x55),
    ("a header shorter than the least", |frame, network, _| {
        frame[network] = 0x44;
    }),
    ("a header longer than the packet", |frame, network, _| {
        frame[network] = 0x4f;
    }),
    ("a length below the header's", |frame, network, _| {
        frame[network + 2..network + 4].copy_from_slice(&[0, 19]);
    }),
    ("a length behind the frame's end", |frame, network, _| {
        frame[network + 3] += 1;
    }),
    ("an end within the payload", |frame, _, _| {
        frame.pop();
    }),
    ("an end within the options", |frame, network, _| {
        frame[network] = 0x46;
        frame[network + 2..network + 4].copy_from_slice(&[0, 20]);
        frame.truncate(network + 20);
    }),
];

const DAMAGE_TO_IPV6: [(&str, Damage); 6] = [
    ("another version", |frame, network, _| frame[network] = 0x45),
    ("a length behind the frame's end", |frame, network, _| {
        frame[network + 5] += 1;
    }),
    ("an end within the payload", |frame, _, _| {
        frame.pop();
    }),
    (
        "hop-by-hop options behind another header",
        |frame, network, transport| {
            insert_extensions(frame, network, transport, &[60, 0]);
        },
    ),
    (
        "an authentication header without its fields",
        |frame, network, transport| {
            insert_extensions(frame, network, transport, &[51]);
        },
    ),
    (
        "more extension headers than are looked through",
        |frame, network, transport| {
            insert_extensions(frame, network, transport, &[60; 7]);
        },
    ),
];

const DAMAGE_TO_TCP: [(&str, Damage); 3] = [
    ("a TCP header shorter than the least", |frame, _, transport| {
        frame[transport + 12] = 0x40;
    }),
    ("a TCP header longer than the packet", |frame, _, transport| {
        frame[transport + 12] = 0xf0;
    }),
    ("an end within the TCP header", |frame, network, transport| {
        end_at(frame, network, transport + 19);
    }),
];

const DAMAGE_TO_UDP: [(&str, Damage); 3] = [
    ("a UDP length below the header's", |frame, _, transport| {
        frame[transport + 5] = 7;
    }),
    ("a UDP length behind the packet's end", |frame, _, transport| {
        frame[transport + 5] += 1;
    }),
    ("an end within the UDP header", |frame, network, transport| {
        end_at(frame, network, transport + 7);
    }),
];

/// Puts extension headers of eight bytes each in front of the transport header.
fn insert_extensions(frame: &mut Vec<u8>, network: usize, transport: usize, numbers: &[u8]) {
    let protocol = frame[network + 6];
    let next = numbers.iter().skip(1).chain([&protocol]);
    let headers: Vec<u8> = next.flat_map(|&next| [next, 0, 1, 4, 0, 0, 0, 0]).collect();
    frame[network + 6] = numbers[0];
    frame[network + 5] += u8::try_from(headers.len()).unwrap();
    frame.splice(transport..transport, headers);
}

/// Ends frame and packet alike.
fn end_at(frame: &mut Vec<u8>, network: usize, end: usize) {
    frame.truncate(end);
    let (field, length) = if frame[network] >> 4 == 4 {
        (network + 2, end - network)
    } else {
        (network + 4, end - network - 40)
    };
    frame[field..field + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
}

#[test]
fn malformed_packets_for_a_service_are_dropped_and_others_pass() {
    Host::run(|host| {
        serve_all(host);
        let families = [(V4, &DAMAGE_TO_IPV4[..]), (V6, &DAMAGE_TO_IPV6)];
        for (family, to_ip) in families {
            let transports = [(Transport::ack(), &DAMAGE_TO_TCP[..]), (Transport::Udp, &DAMAGE_TO_UDP)];
            for (transport, to_transport) in transports {
                let send = |destination: SocketAddr, damage: Damage| {
                    let client = SocketAddr::new(family.client, 40_000);
                    let packet = Packet::new(transport.clone(), client, destination);
                    let mut frame = packet.frame();
                    damage(&mut frame, packet.network(), packet.transport());
                    frame
                };
                for &(case, damage) in to_ip.iter().chain(to_transport) {
                    // Whose port it is cannot be told when the packet is broken.
                    for port in [80, 22] {
                        let frame = send(SocketAddr::new(family.vip, port), damage);
                        assert_dropped(host, case, Interface::CLIENTS, &frame, DropReason::Malformed);
                    }
                    assert_passed(host, case, &send(SocketAddr::new(family.other_vip, 80), damage));
                }
            }
        }
    });
}

#[test]
fn a_packet_at_its_last_hop_goes_nowhere_in_either_direction() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = Packet::new(Transport::ack(), client, served_at(family));
            let reply = answered(host, &request, served_by(family));
            for (packet, ingress) in [(request, Interface::CLIENTS), (reply, Interface::BACKENDS)] {
                for ttl in [0, 1] {
                    let late = Packet { ttl, ..packet.clone() };
                    assert_told(host, "too late", ingress, &late, Report::TimeExceeded);
                }
            }
            let destination = SocketAddr::new(family.vip, 22);
            let other = Packet::new(Transport::ack(), client, destination);
            assert_passed(host, "not the balancer's", &Packet { ttl: 1, ..other }.frame());
        }
    });
}

#[test]
fn a_service_whose_backends_all_have_weight_zero_has_none() {
    Host::run(|host| {
        for family in FAMILIES {
            let backends = [family.backend, family.other_backend].map(|address: IpAddr| {
                let mut idle = backend(SocketAddr::new(address, 80));
                idle.weight = 0;
                idle
            });
            host.serve([service("web", family.vip, TCP, &[80], backends)]);
            let client = SocketAddr::new(family.client, 40_000);
            let frame = Packet::new(Transport::syn(), client, served_at(family)).frame();
            assert_dropped(host, "idle", Interface::CLIENTS, &frame, DropReason::NoBackend);
        }
    });
}

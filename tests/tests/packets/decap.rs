//! From the tunnel to the backend's host.

use std::{collections::BTreeMap, net::SocketAddr};

use balancer::{config::XdpMode, dataplane::Decapsulator};
use balancer_common::{abi::Forwarding, decapsulation::Fate};
use balancer_tests::packet::{Action, Flow, Outcome, Packet, Transport, Tunnel};
use ipnet::IpNet;

use crate::cases::{FAMILIES, Family, V4, V6, additions, kinds};

const FLOW: Flow = Flow {
    port: 50_000,
    label: 0x1_2345,
};

/// A program that takes packets from these addresses, or from all, and is attached nowhere.
struct Backend(Decapsulator);

impl Backend {
    fn allowing(prefixes: &[&str]) -> Self {
        let prefixes: Vec<IpNet> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        Self(Decapsulator::attach(&[], XdpMode::Auto, &prefixes).unwrap())
    }

    /// Hands over a frame. Returns what was counted meanwhile.
    #[track_caller]
    fn receive(&mut self, case: &str, frame: &[u8], action: Action, expected: &[u8]) -> BTreeMap<&'static str, u64> {
        let before = self.counts();
        Outcome::from(self.0.run(frame).unwrap()).assert(case, action, expected);
        self.counts()
            .into_iter()
            .map(|(label, count)| (label, count - before[label]))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.counts().unwrap();
        counts.into_iter().map(|(fate, count)| (fate.label(), count)).collect()
    }

    #[track_caller]
    fn assert_taken_out(&mut self, case: &str, tunnel: Tunnel, packet: &Packet) {
        let fate = match tunnel.forwarding {
            Forwarding::Gue => Fate::Gue,
            _ => Fate::Ipip,
        };
        let counted = self.receive(case, &tunnel.frame(packet, FLOW), Action::Pass, &packet.frame());
        assert_eq!(counted, BTreeMap::from([(fate.label(), 1)]), "{case}");
    }

    #[track_caller]
    fn assert_refused(&mut self, frame: &[u8], fate: Fate) {
        let counted = self.receive(fate.label(), frame, Action::Drop, frame);
        assert_eq!(counted, BTreeMap::from([(fate.label(), 1)]));
    }

    #[track_caller]
    fn assert_passed(&mut self, case: &str, frame: &[u8]) {
        assert_eq!(
            self.receive(case, frame, Action::Pass, frame),
            BTreeMap::new(),
            "{case}"
        );
    }
}

/// Every kind of tunnel, with the family of the packets inside.
fn tunnels() -> impl Iterator<Item = (Tunnel, Family)> {
    let forwardings = [Forwarding::Ipip, Forwarding::Gue];
    FAMILIES.into_iter().flat_map(move |outer| {
        FAMILIES.into_iter().flat_map(move |inner| {
            forwardings.map(|forwarding| {
                let tunnel = Tunnel {
                    forwarding,
                    source: outer.gateway,
                    destination: outer.backend,
                };
                (tunnel, inner)
            })
        })
    })
}

/// A packet for the VIP.
fn packet(transport: Transport, family: Family) -> Packet {
    let client = SocketAddr::new(family.client, 40_000);
    Packet::new(transport, client, SocketAddr::new(family.vip, 80))
}

#[test]
fn every_kind_of_packet_comes_out_as_it_went_in_and_is_counted() {
    let mut backend = Backend::allowing(&[]);
    for (tunnel, family) in tunnels() {
        for (kind, transport, payload) in kinds() {
            let mut packet = packet(transport, family);
            packet.payload = payload.to_vec();
            // Marks of congestion have a test of their own.
            packet.traffic_class = 0x28;
            backend.assert_taken_out(&format!("{tunnel:?}: {kind}"), tunnel, &packet);
        }
        for (case, addition) in additions(family) {
            let mut packet = packet(Transport::Udp, family);
            addition(&mut packet);
            backend.assert_taken_out(&format!("{tunnel:?}: {case}"), tunnel, &packet);
        }
    }
}

#[test]
fn what_is_in_no_tunnel_passes_untouched() {
    let mut backend = Backend::allowing(&["10.1.0.254/32"]);
    for family in FAMILIES {
        for (kind, transport, _) in kinds() {
            backend.assert_passed(kind, &packet(transport, family).frame());
        }
        for (case, addition) in additions(family) {
            let mut packet = packet(Transport::Udp, family);
            addition(&mut packet);
            backend.assert_passed(case, &packet.frame());
        }
    }
}

#[test]
fn only_allowed_sources_are_taken_from() {
    let tunnel_from = |source: &str, outer: Family| Tunnel {
        forwarding: Forwarding::Gue,
        source: source.parse().unwrap(),
        destination: outer.backend,
    };
    let packet = packet(Transport::Udp, V4);
    let mut backend = Backend::allowing(&["10.1.0.0/24", "10.9.9.9/32", "fd00:1::/64"]);
    for (source, outer) in [("10.1.0.77", V4), ("10.9.9.9", V4), ("fd00:1::77", V6)] {
        backend.assert_taken_out(source, tunnel_from(source, outer), &packet);
    }
    for (source, outer) in [
        ("10.1.1.1", V4),
        ("10.9.9.8", V4),
        ("192.0.2.1", V4),
        ("fd00:2::77", V6),
        ("::10.1.0.77", V6),
    ] {
        backend.assert_refused(&tunnel_from(source, outer).frame(&packet, FLOW), Fate::SourceNotAllowed);
    }
}

#[test]
fn each_refusal_drops_its_packet_untouched_and_counts_it_once() {
    let mut backend = Backend::allowing(&["10.1.0.254/32", "fd00:1::fe/128"]);
    let mut elsewhere = Backend::allowing(&["10.7.7.7/32"]);
    for (tunnel, family) in tunnels() {
        let sent = packet(Transport::Udp, family);
        let frame = tunnel.frame(&sent, FLOW);
        let inner = 14 + tunnel.overhead();
        for &fate in Fate::ALL {
            let mut frame = frame.clone();
            let is_ipv4 = tunnel.destination.is_ipv4();
            match fate {
                Fate::SourceNotAllowed => {
                    elsewhere.assert_refused(&frame, fate);
                    continue;
                }
                Fate::MalformedOuter => frame.truncate(frame.len() - 1),
                Fate::Fragment if is_ipv4 => {
                    // More fragments: the flag's bit is in the checksum, too.
                    frame[20] |= 0x20;
                    frame[24] -= 0x20;
                }
                Fate::UnknownGue if tunnel.forwarding == Forwarding::Gue => frame[inner - 4] = 0x40,
                Fate::Fragment | Fate::UnknownGue | Fate::Ipip | Fate::Gue => continue,
                Fate::MalformedInner => frame[inner] ^= 0x30,
                Fate::Congestion => {
                    let incapable = Packet {
                        traffic_class: 0x28,
                        ..sent.clone()
                    };
                    frame = congested(tunnel, &incapable);
                }
            }
            backend.assert_refused(&frame, fate);
        }
    }
}

/// The packet, after a router in the tunnel has marked the outer one.
fn congested(tunnel: Tunnel, packet: &Packet) -> Vec<u8> {
    let marked = Packet {
        traffic_class: packet.traffic_class | 3,
        ..packet.clone()
    };
    let outer = tunnel.frame(&marked, FLOW);
    let inner = tunnel.frame(packet, FLOW);
    let headers = packet.network() + tunnel.overhead();
    [&outer[..headers], &inner[headers..]].concat()
}

#[test]
fn a_mark_of_congestion_is_handed_on() {
    let mut backend = Backend::allowing(&[]);
    for (tunnel, family) in tunnels() {
        for capable in [0x29, 0x2a, 0x2b] {
            let sent = Packet {
                traffic_class: capable,
                ..packet(Transport::ack(), family)
            };
            let expected = Packet {
                traffic_class: 0x2b,
                ..sent.clone()
            };
            let frame = congested(tunnel, &sent);
            let counted = backend.receive("congested", &frame, Action::Pass, &expected.frame());
            assert_eq!(counted.values().sum::<u64>(), 1);
        }
    }
}

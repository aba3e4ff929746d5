//! Packets inside packets.

use std::net::IpAddr;

use balancer_common::abi::Forwarding;
use etherparse::{
    IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket, TransportSlice, UdpHeader,
    ether_type, ip_number,
};

use super::{Packet, Transport};

/// UDP port of Generic UDP Encapsulation (IANA).
const GUE: u16 = 6080;

/// A tunnel from a balancer to a backend.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    /// [`Forwarding::Ipip`] or [`Forwarding::Gue`].
    pub forwarding: Forwarding,
    /// The balancer.
    pub source: IpAddr,
    /// The backend.
    pub destination: IpAddr,
}

/// What tells flows in a tunnel apart on the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flow {
    /// Source port of the outer UDP datagram.
    pub port: u16,
    /// Flow label of the outer IPv6 header.
    pub label: u32,
}

impl Flow {
    /// What it is in a frame. Zero where the frame has no place for it.
    pub fn of(frame: &[u8]) -> Self {
        let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
            return Self::default();
        };
        let label = match packet.net {
            Some(NetSlice::Ipv6(ip)) => ip.header().flow_label().value(),
            _ => 0,
        };
        let port = match packet.transport {
            Some(TransportSlice::Udp(udp)) => udp.source_port(),
            _ => 0,
        };
        Self { port, label }
    }
}

impl Tunnel {
    /// Bytes that the tunnel adds to an IP packet.
    pub const fn overhead(self) -> usize {
        let ip = match self.destination {
            IpAddr::V4(_) => Ipv4Header::MIN_LEN,
            IpAddr::V6(_) => Ipv6Header::LEN,
        };
        match self.forwarding {
            Forwarding::Gue => ip + UdpHeader::LEN + 4,
            _ => ip,
        }
    }

    /// The frame in which `packet` goes through the tunnel.
    ///
    /// # Panics
    ///
    /// If the packet is too long.
    pub fn frame(self, packet: &Packet, flow: Flow) -> Vec<u8> {
        let inner = packet.frame();
        let inner = &inner[packet.network()..inner.len() - packet.padding.len()];
        let checked = matches!(packet.transport, Transport::Tcp(_) | Transport::Udp);
        self.carry(packet, inner, checked && packet.extensions.is_empty(), flow)
    }

    /// The frame in which `inner`, which is `packet` or a piece of it, goes through the tunnel. `is_summed_up` if checksums inside
    /// cover all of it.
    ///
    /// # Panics
    ///
    /// If the packet is too long.
    pub fn carry(self, packet: &Packet, inner: &[u8], is_summed_up: bool, flow: Flow) -> Vec<u8> {
        let carried = if packet.destination.is_ipv4() {
            ip_number::IPV4
        } else {
            ip_number::IPV6
        };
        let gue = [&[0, carried.0, 0, 0], inner].concat();
        let outer = match (self.source, self.destination, self.forwarding) {
            (IpAddr::V4(source), IpAddr::V4(destination), Forwarding::Ipip) => {
                ipv4(packet, carried, source.octets(), destination.octets(), inner)
            }
            (IpAddr::V4(source), IpAddr::V4(destination), Forwarding::Gue) => {
                let datagram = udp(flow.port, &gue, |_| 0);
                ipv4(packet, ip_number::UDP, source.octets(), destination.octets(), &datagram)
            }
            (IpAddr::V6(source), IpAddr::V6(destination), Forwarding::Ipip) => {
                ipv6(packet, carried, flow, [source.octets(), destination.octets()], inner)
            }
            (IpAddr::V6(source), IpAddr::V6(destination), Forwarding::Gue) => {
                let ends = [source.octets(), destination.octets()];
                let datagram = udp(flow.port, &gue, |header| {
                    let checksum = header.calc_checksum_ipv6_raw(ends[0], ends[1], &gue);
                    if is_summed_up {
                        checksum.expect("the packet is not too long")
                    } else {
                        0
                    }
                });
                ipv6(packet, ip_number::UDP, flow, ends, &datagram)
            }
            _ => panic!("{self:?} is no tunnel"),
        };
        let network = match self.destination {
            IpAddr::V4(_) => ether_type::IPV4,
            IpAddr::V6(_) => ether_type::IPV6,
        };
        [packet.link(network), outer, packet.padding.clone()].concat()
    }
}

fn ipv4(inner: &Packet, protocol: IpNumber, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("the packet is not too long");
    let mut header = Ipv4Header::new(length, 64, protocol, source, destination).expect("the packet is not too long");
    header.dscp = IpDscp::try_new(inner.traffic_class >> 2).expect("six bits");
    header.ecn = IpEcn::try_new(inner.traffic_class & 3).expect("two bits");
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes(), payload].concat()
}

fn ipv6(inner: &Packet, protocol: IpNumber, flow: Flow, ends: [[u8; 16]; 2], payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: inner.traffic_class,
        flow_label: Ipv6FlowLabel::try_new(flow.label).expect("20 bits"),
        payload_length: u16::try_from(payload.len()).expect("the packet is not too long"),
        next_header: protocol,
        hop_limit: 64,
        source: ends[0],
        destination: ends[1],
    };
    [&header.to_bytes(), payload].concat()
}

fn udp(source: u16, payload: &[u8], checksum: impl Fn(&UdpHeader) -> u16) -> Vec<u8> {
    let mut header = UdpHeader {
        source_port: source,
        destination_port: GUE,
        length: u16::try_from(UdpHeader::LEN + payload.len()).expect("the packet is not too long"),
        checksum: 0,
    };
    header.checksum = checksum(&header);
    [&header.to_bytes(), payload].concat()
}

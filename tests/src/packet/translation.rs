//! Packets after full NAT, within their IP version or in the other one.

use std::net::SocketAddr;

use balancer_common::abi::NextHop;
use etherparse::{IpDscp, IpEcn, Ipv4Header, Ipv6FlowLabel, Ipv6Header};

use super::Packet;

/// IPv4 packets up to this size may be fragmented if they come from IPv6 (RFC 7915, 5.1).
const FRAGMENTABLE: usize = 1_260;

impl Packet {
    /// The frame of this packet with both ends replaced.
    ///
    /// # Panics
    ///
    /// If the two ends are of different IP versions.
    pub fn translated(&self, next_hop: NextHop, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let packet = Self {
            source,
            ..self.forwarded(next_hop, destination)
        };
        let mut frame = packet.frame();
        let header = &mut frame[packet.network()..];
        match (self.source, destination) {
            (SocketAddr::V4(_), SocketAddr::V6(_)) => self.to_ipv6(header),
            (SocketAddr::V6(_), SocketAddr::V4(_)) => self.to_ipv4(header),
            _ => {}
        }
        frame
    }

    fn to_ipv6(&self, bytes: &mut [u8]) {
        let frame = self.frame();
        let (old, _) = Ipv4Header::from_slice(&frame[self.network()..]).expect("an IPv4 packet was built");
        let (mut header, _) = Ipv6Header::from_slice(bytes).expect("an IPv6 packet was built");
        header.traffic_class = old.dscp.value() << 2 | old.ecn.value();
        header.flow_label = Ipv6FlowLabel::ZERO;
        bytes[..Ipv6Header::LEN].copy_from_slice(&header.to_bytes());
    }

    fn to_ipv4(&self, bytes: &mut [u8]) {
        let frame = self.frame();
        let (old, _) = Ipv6Header::from_slice(&frame[self.network()..]).expect("an IPv6 packet was built");
        let checksum = self.transport() + if self.transport.protocol() == 6 { 16 } else { 6 };
        let (mut header, _) = Ipv4Header::from_slice(bytes).expect("an IPv4 packet was built");
        header.dscp = IpDscp::try_new(old.traffic_class >> 2).expect("six bits");
        header.ecn = IpEcn::try_new(old.traffic_class & 3).expect("two bits");
        header.dont_fragment = usize::from(header.total_len) > FRAGMENTABLE;
        header.identification = if header.dont_fragment {
            0
        } else {
            u16::from_be_bytes([frame[checksum], frame[checksum + 1]])
        };
        header.header_checksum = header.calc_header_checksum();
        bytes[..header.header_len()].copy_from_slice(&header.to_bytes());
    }
}

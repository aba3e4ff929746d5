//! Packets as nearly all are.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Ethernet, Headers, Packet, Piece, ipv4, ipv6, is_for_one_host, is_transport, parse_transport};

/// Version 4 and a header of five words: no options.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;

/// Parses a whole packet with ports, without VLAN tags, IPv4 options or IPv6 extension headers: then every header is at a place that is
/// known beforehand. What it parses, [`parse`](super::parse()) parses alike.
///
/// `None` says nothing but that the packet is to be parsed the long way.
#[inline(always)]
pub fn parse_plain<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    let ethernet = packet.view::<Ethernet>(0)?;
    if !is_for_one_host(ethernet) {
        return None;
    }
    let network = Ethernet::LEN;
    let parsed = match ethernet.ether_type {
        Ethernet::IPV4 if packet.view::<Ipv4Hdr>(network)?.vihl == IPV4_WITHOUT_OPTIONS => ipv4::parse(packet, network),
        Ethernet::IPV6 if is_transport(packet.view::<Ipv6Hdr>(network)?.next_hdr) => ipv6::parse(packet, network),
        _ => return None,
    };
    let mut headers = parsed.ok()?;
    if !headers.has_ports() || headers.fragment.piece != Piece::Whole {
        return None;
    }
    parse_transport(packet, &mut headers).ok()?;
    Some(headers)
}

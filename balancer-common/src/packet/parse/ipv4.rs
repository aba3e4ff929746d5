//! The IPv4 header (RFC 791, 3.1).

use network_types::ip::Ipv4Hdr;

use super::{Family, Fragment, Headers, Packet, Piece, Ports, Unparsed, is_icmp, is_transport};
use crate::abi::{Address, protocol};

/// Parses the header of a whole packet. Ports and TCP flags are left out.
#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv4Hdr>(network).ok_or(Unparsed::Foreign)?;
    let known = is_transport(header.proto) || is_icmp(Family::V4, header.proto);
    if !known || is_martian(header.src_addr) {
        return Err(Unparsed::Foreign);
    }
    let length = u16::from_be_bytes(header.tot_len) as usize;
    if !packet.has(network + length) {
        return Err(Unparsed::Malformed(Address::v4(header.dst_addr)));
    }
    headers(header, network, length).ok_or(Unparsed::Malformed(Address::v4(header.dst_addr)))
}

/// Parses the header of a packet of which the first `length` bytes are there. Ports and TCP flags are left out.
#[inline(always)]
pub(super) fn parse_quoted<P: Packet + ?Sized>(packet: &P, network: usize, length: usize) -> Option<Headers> {
    headers(packet.view(network)?, network, length)
}

#[inline(always)]
fn headers(header: &Ipv4Hdr, network: usize, length: usize) -> Option<Headers> {
    let header_len = (header.vihl & 0x0f) as usize * 4;
    if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || length < header_len {
        return None;
    }
    let fragment = fragment(header);
    Some(Headers {
        source: Address::v4(header.src_addr),
        destination: Address::v4(header.dst_addr),
        ports: Ports::NONE,
        length: length as u32,
        network: network as u16,
        transport: (network + header_len) as u16,
        family: Family::V4,
        protocol: match fragment.piece {
            Piece::Later if is_transport(header.proto) => protocol::FRAGMENT,
            _ => header.proto,
        },
        ttl: header.ttl,
        tcp_flags: 0,
        fragment,
    })
}

/// "More fragments" in the field of the header that says which fragment it is.
const MORE: u16 = 0x2000;
/// Offset of the fragment in units of eight bytes, in the same field. What remains of it is a reserved bit, and "don't
/// fragment", which is no concern of the parser.
const OFFSET: u16 = 0x1fff;

/// Not zero if the packet is a piece of another one.
#[inline(always)]
pub(super) const fn fragment_bits(header: &Ipv4Hdr) -> u16 {
    u16::from_ne_bytes(header.frags) & (MORE | OFFSET).to_be()
}

#[inline(always)]
fn fragment(header: &Ipv4Hdr) -> Fragment {
    if fragment_bits(header) == 0 {
        return Fragment::NONE;
    }
    let field = u16::from_be_bytes(header.frags);
    Fragment {
        identification: u16::from_be_bytes(header.id) as u32,
        protocol: header.proto,
        carries: header.proto,
        piece: if field & OFFSET == 0 {
            Piece::First
        } else {
            Piece::Later
        },
    }
}

/// Whether a router may not forward what comes from this address: "this" network, loopback, multicast and limited
/// broadcast (RFC 1122, 3.2.1.3; RFC 1812, 5.3.7).
#[inline(always)]
pub(super) const fn is_martian(source: [u8; 4]) -> bool {
    matches!(source, [0 | 127 | 224..=239, ..] | [255, 255, 255, 255])
}

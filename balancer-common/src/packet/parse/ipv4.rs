//! The IPv4 header (RFC 791, 3.1).

use network_types::ip::Ipv4Hdr;

use super::{Family, Headers, Packet, Unparsed, is_transport, ports};
use crate::abi::Address;

#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv4Hdr>(network).ok_or(Unparsed::Foreign)?;
    if !is_transport(header.proto) || is_martian(header.src_addr) {
        return Err(Unparsed::Foreign);
    }
    let destination = Address::v4(header.dst_addr);
    let malformed = Unparsed::Malformed(destination);

    let header_len = (header.vihl & 0x0f) as usize * 4;
    let length = u16::from_be_bytes(header.tot_len) as usize;
    if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || length < header_len || !packet.has(network + length) {
        return Err(malformed);
    }
    // More fragments to come, or not the first one. The "don't fragment" bit is no concern of the parser.
    if u16::from_be_bytes(header.frags) & 0x3fff != 0 {
        return Err(Unparsed::Fragment(destination));
    }
    let transport = network + header_len;
    let (ports, tcp_flags) = ports(packet, header.proto, transport, length - header_len, malformed)?;
    Ok(Headers {
        family: Family::V4,
        network: network as u16,
        transport: transport as u16,
        length: length as u32,
        ttl: header.ttl,
        protocol: header.proto,
        source: Address::v4(header.src_addr),
        destination,
        ports,
        tcp_flags,
    })
}

/// Whether a router may not forward what comes from this address: "this" network, loopback, multicast and limited
/// broadcast (RFC 1122, 3.2.1.3; RFC 1812, 5.3.7).
#[inline(always)]
const fn is_martian(source: [u8; 4]) -> bool {
    matches!(source, [0 | 127 | 224..=239, ..] | [255, 255, 255, 255])
}

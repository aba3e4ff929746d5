//! The IPv6 header and its extension headers (RFC 8200, 3 and 4).

use network_types::ip::Ipv6Hdr;

use super::{Family, Fragment, Headers, Packet, Piece, Ports, Unparsed, is_transport};
use crate::{
    abi::{Address, protocol},
    packet::Ipv6Extension,
};

/// Extension headers that are looked through: each of RFC 8200's once, and destination options, which may stand in two
/// places, twice.
const MAX_EXTENSIONS: usize = 6;

/// Next-header numbers of the extension headers that are looked through (IANA).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = crate::abi::protocol::FRAGMENT;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// Parses the headers of a whole packet. Ports and TCP flags are left out.
#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv6Hdr>(network).ok_or(Unparsed::Foreign)?;
    let source = Address::v6(header.src_addr);
    let destination = Address::v6(header.dst_addr);
    // On the wire an IPv4-mapped address is a forgery (RFC 4291, 2.5.5.2); here it would pass for the IPv4 one.
    if is_martian(source) || destination.is_v4() {
        return Err(Unparsed::Foreign);
    }
    let length = Ipv6Hdr::LEN + u16::from_be_bytes(header.payload_len) as usize;
    if header.vcf[0] >> 4 != 6 || !packet.has(network + length) {
        return Err(Unparsed::Malformed(destination));
    }
    headers(packet, header, network, length)
}

/// Parses the headers of a packet of which the first `length` bytes are there. Ports and TCP flags are left out.
#[inline(always)]
pub(super) fn parse_quoted<P: Packet + ?Sized>(packet: &P, network: usize, length: usize) -> Option<Headers> {
    let header = packet.view::<Ipv6Hdr>(network)?;
    if header.vcf[0] >> 4 != 6 || length < Ipv6Hdr::LEN {
        return None;
    }
    headers(packet, header, network, length).ok()
}

#[inline(always)]
fn headers<P: Packet + ?Sized>(
    packet: &P,
    header: &Ipv6Hdr,
    network: usize,
    length: usize,
) -> Result<Headers, Unparsed> {
    let destination = Address::v6(header.dst_addr);
    let start = network + Ipv6Hdr::LEN;
    let chain = skip_extensions(packet, start, length - Ipv6Hdr::LEN, header.next_hdr, destination)?;
    Ok(Headers {
        source: Address::v6(header.src_addr),
        destination,
        ports: Ports::NONE,
        length: length as u32,
        network: network as u16,
        transport: (start + chain.length) as u16,
        family: Family::V6,
        protocol: chain.protocol,
        ttl: header.hop_limit,
        tcp_flags: 0,
        fragment: chain.fragment,
    })
}

/// Whether a router may not forward what comes from this address: the unspecified, loopback and IPv4-mapped addresses,
/// all of which begin with 64 zero bits, multicast and link-local ones (RFC 4291, 2.5 to 2.7).
#[inline(always)]
pub(super) const fn is_martian(source: Address) -> bool {
    let [first, _] = source.words();
    let [high, low, ..] = first.to_ne_bytes();
    first == 0 || high == 0xff || (high == 0xfe && low & 0xc0 == 0x80)
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::FRAGMENT
            | extension::AUTHENTICATION
            | extension::DESTINATION
    )
}

/// What stands between the IPv6 header and the payload.
struct Chain {
    /// What follows: for a later fragment of what may be TCP or UDP, [`protocol::FRAGMENT`].
    protocol: u8,
    /// Bytes of all extension headers.
    length: usize,
    fragment: Fragment,
}

/// Looks through the extension headers that begin at `start` with one of the kind `protocol` and end within `payload`
/// bytes, up to what a later fragment carries.
#[inline(always)]
fn skip_extensions<P: Packet + ?Sized>(
    packet: &P,
    start: usize,
    payload: usize,
    mut protocol: u8,
    destination: Address,
) -> Result<Chain, Unparsed> {
    let malformed = Unparsed::Malformed(destination);
    let mut length = 0_usize;
    let mut fragment = Fragment::NONE;
    for position in 0..MAX_EXTENSIONS {
        // Only what is an extension header is looked into: a short TCP or UDP payload is not one cut off.
        if !is_extension(protocol) {
            break;
        }
        let header = packet.view::<Ipv6Extension>(start + length).ok_or(malformed)?;
        let unit = match protocol {
            extension::FRAGMENT => 0,
            // RFC 4302, 2.2: in 4-byte units, minus 2.
            extension::AUTHENTICATION => 4,
            _ => 8,
        };
        length += Ipv6Extension::LEN + header.length as usize * unit;
        if length > payload {
            return Err(malformed);
        }
        let [first, second, identification @ ..] = header.content;
        match protocol {
            // RFC 8200, 4.1: only directly behind the IPv6 header.
            extension::HOP_BY_HOP if position > 0 => return Err(malformed),
            // The fixed fields alone are 12 bytes.
            extension::AUTHENTICATION if header.length == 0 => return Err(malformed),
            // With segments left the destination is a stop on the way, and not the one that the transport checksum was
            // computed with (RFC 8200, 4.4 and 8.1).
            extension::ROUTING if second != 0 => return Err(Unparsed::Foreign),
            // Offset (13 bits), reserved (2), more fragments (1). An atomic fragment (RFC 6946) is a whole packet.
            extension::FRAGMENT if u16::from_be_bytes([first, second]) & 0xfff9 != 0 => {
                let is_first = u16::from_be_bytes([first, second]) & 0xfff8 == 0;
                fragment = Fragment {
                    identification: u32::from_be_bytes(identification),
                    // The fragments of a packet may differ in what their headers name next (RFC 8200, 4.5).
                    protocol: protocol::FRAGMENT,
                    piece: if is_first { Piece::First } else { Piece::Later },
                    carries: header.next_header,
                };
                if !is_first {
                    let ours = is_transport(header.next_header) || is_extension(header.next_header);
                    let protocol = if ours { protocol::FRAGMENT } else { header.next_header };
                    return Ok(Chain {
                        protocol,
                        length,
                        fragment,
                    });
                }
            }
            _ => {}
        }
        protocol = header.next_header;
    }
    if is_extension(protocol) {
        return Err(malformed);
    }
    Ok(Chain {
        protocol,
        length,
        fragment,
    })
}

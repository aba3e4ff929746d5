//! The IPv6 header and its extension headers (RFC 8200, 3 and 4).

use network_types::ip::Ipv6Hdr;

use super::{Family, Headers, Packet, Unparsed, is_transport, ports};
use crate::{abi::Address, packet::Ipv6Extension};

/// Extension headers that are looked through: each of RFC 8200's once, and destination options, which may stand in two
/// places, twice.
const MAX_EXTENSIONS: usize = 6;

/// Next-header numbers of the extension headers that are looked through (IANA).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv6Hdr>(network).ok_or(Unparsed::Foreign)?;
    let source = Address::v6(header.src_addr);
    let destination = Address::v6(header.dst_addr);
    // On the wire an IPv4-mapped address is a forgery (RFC 4291, 2.5.5.2); here it would pass for the IPv4 one.
    if is_martian(source) || destination.is_v4() {
        return Err(Unparsed::Foreign);
    }
    let malformed = Unparsed::Malformed(destination);
    let payload = u16::from_be_bytes(header.payload_len) as usize;
    let length = Ipv6Hdr::LEN + payload;
    if header.vcf[0] >> 4 != 6 || !packet.has(network + length) {
        return Err(malformed);
    }
    let (protocol, extensions) =
        skip_extensions(packet, network + Ipv6Hdr::LEN, payload, header.next_hdr, destination)?;
    let transport = network + Ipv6Hdr::LEN + extensions;
    let (ports, tcp_flags) = ports(packet, protocol, transport, payload - extensions, malformed)?;
    Ok(Headers {
        family: Family::V6,
        network: network as u16,
        transport: transport as u16,
        length: length as u32,
        ttl: header.hop_limit,
        protocol,
        source,
        destination,
        ports,
        tcp_flags,
    })
}

/// Whether a router may not forward what comes from this address: the unspecified, loopback and IPv4-mapped addresses,
/// all of which begin with 64 zero bits, multicast and link-local ones (RFC 4291, 2.5 to 2.7).
#[inline(always)]
const fn is_martian(source: Address) -> bool {
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

/// The protocol behind the extension headers that begin at `start` with one of the kind `protocol`, and their length in
/// bytes, which is at most `payload`.
#[inline(always)]
fn skip_extensions<P: Packet + ?Sized>(
    packet: &P,
    start: usize,
    payload: usize,
    mut protocol: u8,
    destination: Address,
) -> Result<(u8, usize), Unparsed> {
    let malformed = Unparsed::Malformed(destination);
    let mut skipped = 0_usize;
    for position in 0..MAX_EXTENSIONS {
        // Only what is an extension header is looked into: a short TCP or UDP payload is not one cut off.
        if !is_extension(protocol) {
            break;
        }
        let header = packet.view::<Ipv6Extension>(start + skipped).ok_or(malformed)?;
        let unit = match protocol {
            extension::FRAGMENT => 0,
            // RFC 4302, 2.2: in 4-byte units, minus 2.
            extension::AUTHENTICATION => 4,
            _ => 8,
        };
        skipped += Ipv6Extension::LEN + header.length as usize * unit;
        if skipped > payload {
            return Err(malformed);
        }
        let [first, second, ..] = header.content;
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
                let ours = is_transport(header.next_header) || is_extension(header.next_header);
                return Err(if ours {
                    Unparsed::Fragment(destination)
                } else {
                    Unparsed::Foreign
                });
            }
            _ => {}
        }
        protocol = header.next_header;
    }
    if is_extension(protocol) {
        return Err(malformed);
    }
    Ok((protocol, skipped))
}

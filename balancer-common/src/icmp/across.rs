//! Errors from one IP version to the other (RFC 7915, 4.2 to 4.5 and 5.2 to 5.5).

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{CHECKSUM, HEADER_LEN, quoted::replace_transport, v4, v6};
use crate::{
    DropReason,
    abi::{Address, protocol},
    checksum::Sum,
    ip_header::{ATOMIC, Outline},
    packet::{Ethernet, Family, Headers, Packet, Piece, Tags},
    translate::{Ends, Resize},
};

/// By how much IPv6 headers are longer than IPv4 headers without options: that of the error and that of the packet that it
/// quotes.
const DIFFERENCE: i32 = 2 * ONE_DIFFERENCE as i32;
const ONE_DIFFERENCE: u16 = (Ipv6Hdr::LEN - Ipv4Hdr::LEN) as u16;

/// Has an error, and the packet that it quotes, be of the IP version of `ends` and `quoted_ends`, which its own ends and those of
/// the quoted packet then are; the ports of `ends` have no meaning. `error` are the headers of the error and `quoted` those of the packet.
/// Its TTL is counted down by one. The caller addresses the frame afterwards: its MACs may be lost. Checksums that were wrong stay
/// wrong.
///
/// # Errors
///
/// Why the error cannot be translated. It must then not be sent.
#[inline(always)]
pub fn translate_across<P: Resize + ?Sized>(
    packet: &mut P,
    error: &Headers,
    quoted: &Headers,
    ends: &Ends,
    quoted_ends: &Ends,
) -> Result<(), DropReason> {
    let network = error.network as usize;
    let tags = Tags::read(packet, 0, network).ok_or(DropReason::Malformed)?;
    // Before offsets are compared: the compiler would leave out checks that follow from that, and the verifier insists on them.
    let read = read(packet, error, quoted).ok_or(DropReason::Malformed)?;
    let (bytes, ether_type, old, new) = match error.family {
        Family::V4 => (DIFFERENCE, Ethernet::IPV6, Ipv4Hdr::LEN, Ipv6Hdr::LEN),
        Family::V6 => (-DIFFERENCE, Ethernet::IPV4, Ipv6Hdr::LEN, Ipv4Hdr::LEN),
    };
    let is_bare = error.transport as usize == network + old
        && quoted.network as usize == network + old + HEADER_LEN
        && quoted.transport as usize == network + 2 * old + HEADER_LEN;
    if !is_bare || quoted.fragment.piece != Piece::Whole {
        return Err(DropReason::Untranslatable);
    }
    let message = across(read.message, error.family).ok_or(DropReason::Untranslatable)?;
    packet.grow_front(bytes).ok_or(DropReason::NoHeadroom)?;
    tags.write(packet, ether_type).ok_or(DropReason::Malformed)?;

    let inner = network + new + HEADER_LEN;
    let transport = inner + new;
    let end = transport + quoted.length as usize - old;
    let content = replace_transport(packet, quoted, quoted_ends, transport, end).ok_or(DropReason::Malformed)?;
    let content = content.apply_to(read.content);
    write(packet, network, inner, &read, message, ends, quoted_ends, content).ok_or(DropReason::Malformed)
}

/// What is read of an error before anything is overwritten.
struct Read {
    outer: Outline,
    inner: Outline,
    message: [u8; HEADER_LEN],
    /// The sum of what is quoted behind the IP header.
    content: Sum,
}

#[inline(always)]
fn read<P: Packet + ?Sized>(packet: &P, error: &Headers, quoted: &Headers) -> Option<Read> {
    let message = *packet.view::<[u8; HEADER_LEN]>(error.transport as usize)?;
    let payload = error.payload() as u16;
    // All that the checksum covers sums up to zero, so the rest is what is lacking of that.
    let covered = words(message);
    let (outer, (inner, covered)) = match error.family {
        Family::V4 => (outline_v4(packet.view(error.network as usize)?).0, {
            let (inner, sum) = outline_v4(packet.view(quoted.network as usize)?);
            (inner, covered.plus(sum))
        }),
        Family::V6 => (outline_v6(packet.view(error.network as usize)?).0, {
            let (inner, sum) = outline_v6(packet.view(quoted.network as usize)?);
            let pseudo_header = Sum::ZERO
                .add_v6(error.source)
                .add_v6(error.destination)
                .add_word(payload.to_be_bytes())
                .add_word([0, protocol::ICMPV6]);
            (inner, covered.plus(sum).plus(pseudo_header))
        }),
    };
    Some(Read {
        outer: Outline { payload, ..outer },
        inner,
        message,
        content: covered.complement(),
    })
}

/// The header in outline, and its sum.
#[inline(always)]
fn outline_v4(header: &Ipv4Hdr) -> (Outline, Sum) {
    let length = u16::from_be_bytes(header.tot_len);
    let outline = Outline {
        class: header.tos,
        ttl: header.ttl,
        protocol: header.proto,
        payload: length.wrapping_sub(Ipv4Hdr::LEN as u16),
    };
    (outline, Sum::ZERO.add_ipv4_header(header))
}

/// The header in outline, and its sum.
#[inline(always)]
fn outline_v6(header: &Ipv6Hdr) -> (Outline, Sum) {
    let [first, second, third, fourth] = header.vcf;
    let sum = Sum::ZERO
        .add_word([first, second])
        .add_word([third, fourth])
        .add_word(header.payload_len)
        .add_word([header.next_hdr, header.hop_limit])
        .add_v6(Address::v6(header.src_addr))
        .add_v6(Address::v6(header.dst_addr));
    let outline = Outline {
        class: first << 4 | second >> 4,
        ttl: header.hop_limit,
        protocol: header.next_hdr,
        payload: u16::from_be_bytes(header.payload_len),
    };
    (outline, sum)
}

/// Writes all that stands in front of the quoted packet's transport header.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a structure of them would take stack that the kernel does not have"
)]
fn write<P: Packet + ?Sized>(
    packet: &mut P,
    network: usize,
    inner: usize,
    read: &Read,
    mut message: [u8; HEADER_LEN],
    ends: &Ends,
    quoted_ends: &Ends,
    content: Sum,
) -> Option<()> {
    let mut outer = Outline {
        ttl: read.outer.ttl.wrapping_sub(1),
        ..read.outer
    };
    let sum = match ends.family() {
        Family::V6 => {
            let header = read.inner.ipv6(quoted_ends.source, quoted_ends.destination);
            *packet.view_mut(inner)? = header;
            outer.payload = outer.payload.wrapping_add(ONE_DIFFERENCE);
            outer.protocol = protocol::ICMPV6;
            *packet.view_mut(network)? = outer.ipv6(ends.source, ends.destination);
            outline_v6(&header)
                .1
                .add_v6(ends.source)
                .add_v6(ends.destination)
                .add_word(outer.payload.to_be_bytes())
                .add_word([0, protocol::ICMPV6])
        }
        Family::V4 => {
            *packet.view_mut(inner)? = read.inner.ipv4(ATOMIC, quoted_ends.source, quoted_ends.destination);
            outer.payload = outer.payload.wrapping_sub(ONE_DIFFERENCE);
            outer.protocol = protocol::ICMP;
            *packet.view_mut(network)? = outer.ipv4(ATOMIC, ends.source, ends.destination);
            // A header with its checksum sums up to zero.
            Sum::ZERO
        }
    };
    let checksum = sum.plus(content).plus(words(message)).checksum();
    [message[CHECKSUM], message[CHECKSUM + 1]] = checksum;
    *packet.view_mut::<[u8; HEADER_LEN]>(inner - HEADER_LEN)? = message;
    Some(())
}

#[inline(always)]
const fn words(message: [u8; HEADER_LEN]) -> Sum {
    let [a, b, c, d, e, f, g, h] = message;
    Sum::ZERO.add_v4([a, b, c, d]).add_v4([e, f, g, h])
}

/// The header of a message in the other IP version than `from`, its checksum not filled in; `None` if the other one has no such
/// message.
#[inline(always)]
pub(super) const fn across(message: [u8; HEADER_LEN], from: Family) -> Option<[u8; HEADER_LEN]> {
    /// What every IPv6 link takes (RFC 8200, 5).
    const LEAST_IPV6_MTU: u32 = 1_280;
    const ADMINISTRATIVELY_PROHIBITED: u8 = 1;
    const HOST_PROHIBITED: u8 = 10;
    const HOST: u8 = 1;
    const NEXT_HEADER_OFFSET: u8 = 6;

    let [kind, code, _, _, a, b, c, d] = message;
    match (from, kind, code) {
        (Family::V4, v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) => {
            let mtu = u16::from_be_bytes([c, d]) as u32 + ONE_DIFFERENCE as u32;
            let mtu = if mtu < LEAST_IPV6_MTU { LEAST_IPV6_MTU } else { mtu };
            let [a, b, c, d] = mtu.to_be_bytes();
            Some([v6::TOO_BIG, 0, 0, 0, a, b, c, d])
        }
        (Family::V4, v4::UNREACHABLE, v4::PROTOCOL) => {
            Some([v6::PARAMETER_PROBLEM, 1, 0, 0, 0, 0, 0, NEXT_HEADER_OFFSET])
        }
        (Family::V4, v4::UNREACHABLE, v4::PORT) => Some([v6::UNREACHABLE, v6::PORT, 0, 0, 0, 0, 0, 0]),
        (Family::V4, v4::UNREACHABLE, 9 | 10 | 13 | 15) => {
            Some([v6::UNREACHABLE, ADMINISTRATIVELY_PROHIBITED, 0, 0, 0, 0, 0, 0])
        }
        (Family::V4, v4::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => Some([v6::UNREACHABLE, 0, 0, 0, 0, 0, 0, 0]),
        (Family::V4, v4::TIME_EXCEEDED, code) => Some([v6::TIME_EXCEEDED, code, 0, 0, 0, 0, 0, 0]),
        (Family::V6, v6::UNREACHABLE, ADMINISTRATIVELY_PROHIBITED) => {
            Some([v4::UNREACHABLE, HOST_PROHIBITED, 0, 0, 0, 0, 0, 0])
        }
        (Family::V6, v6::UNREACHABLE, v6::PORT) => Some([v4::UNREACHABLE, v4::PORT, 0, 0, 0, 0, 0, 0]),
        (Family::V6, v6::UNREACHABLE, 0 | 2 | 3) => Some([v4::UNREACHABLE, HOST, 0, 0, 0, 0, 0, 0]),
        (Family::V6, v6::TOO_BIG, _) => {
            let mtu = u32::from_be_bytes([a, b, c, d]).saturating_sub(ONE_DIFFERENCE as u32);
            let mtu = if mtu > u16::MAX as u32 { u16::MAX as u32 } else { mtu };
            let [_, _, high, low] = mtu.to_be_bytes();
            Some([v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low])
        }
        (Family::V6, v6::TIME_EXCEEDED, code) => Some([v4::TIME_EXCEEDED, code, 0, 0, 0, 0, 0, 0]),
        (Family::V6, v6::PARAMETER_PROBLEM, 1) => Some([v4::UNREACHABLE, v4::PROTOCOL, 0, 0, 0, 0, 0, 0]),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

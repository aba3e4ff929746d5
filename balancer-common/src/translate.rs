//! Both ends of a packet replaced, within its IP version or from one to the other (RFC 7915).

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    DropReason,
    abi::{Address, protocol},
    checksum::Update,
    icmp,
    ip_header::{ATOMIC, Outline, Place},
    packet::{EtherType, Ethernet, Family, Headers, Packet, Piece, Ports, Tags, Tcp},
};

/// What the two ends of a packet are to be, both addresses of one IP version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// Their ports.
    pub ports: Ports,
}

impl Ends {
    /// Those of an answer: sender and receiver change places.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.reversed(),
        }
    }

    /// The IP version of the two.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        self.destination.family()
    }
}

/// A packet whose beginning can be moved.
pub trait Resize: Packet {
    /// Makes the packet longer by `bytes` in front, of any content, or shorter if `bytes` is negative. `None` if there is
    /// no room; the packet is then as it was.
    fn grow_front(&mut self, bytes: i32) -> Option<()>;
}

/// Bytes of the IP packet after its translation to the IP version `to`.
#[inline(always)]
pub const fn length(headers: &Headers, to: Family) -> u32 {
    match (headers.family, to) {
        (Family::V4, Family::V6) => headers.length.saturating_add(difference(headers)),
        (Family::V6, Family::V4) => headers.length.saturating_sub(difference(headers)),
        (Family::V4, Family::V4) | (Family::V6, Family::V6) => headers.length,
    }
}

/// By how much an IPv6 header is longer than an IPv4 header without options.
const DIFFERENCE: u32 = (Ipv6Hdr::LEN - Ipv4Hdr::LEN) as u32;

/// Bytes of the header that fragments have in IPv6 (RFC 8200, 4.5).
const FRAGMENT_LEN: usize = 8;

/// By how much the headers of this packet are longer in IPv6 than in IPv4.
#[inline(always)]
const fn difference(headers: &Headers) -> u32 {
    DIFFERENCE + fragment_len(headers) as u32
}

/// Bytes of the fragment header that the packet has in IPv6.
#[inline(always)]
const fn fragment_len(headers: &Headers) -> usize {
    match headers.fragment.piece {
        Piece::Whole => 0,
        Piece::First | Piece::Later => FRAGMENT_LEN,
    }
}

/// Gives a packet the ends `ends`, in their IP version, with the ports if it shows any, and counts its TTL or hop limit down by one. The caller has seen to
/// it that the TTL is above one, and addresses the frame afterwards: its MACs may be lost. A checksum that was wrong stays
/// wrong, so that the receiver refuses the packet.
///
/// # Errors
///
/// Why the packet cannot be translated. It must then not be sent.
#[inline(always)]
pub fn translate<P: Resize + ?Sized>(packet: &mut P, headers: &Headers, ends: &Ends) -> Result<(), DropReason> {
    let transport = match (headers.family, ends.family()) {
        (Family::V4, Family::V4) => replace_v4(packet, headers, ends),
        (Family::V6, Family::V6) => replace_v6(packet, headers, ends),
        (Family::V4, Family::V6) => v4_to_v6(packet, headers, ends)?,
        (Family::V6, Family::V4) => v6_to_v4(packet, headers, ends)?,
    };
    transport
        .and_then(|transport| replace_transport(packet, headers, ends, transport))
        .ok_or(DropReason::Malformed)
}

/// Returns the offset of the transport header.
#[inline(always)]
fn replace_v4<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, ends: &Ends) -> Option<usize> {
    let header = packet.view_mut::<Ipv4Hdr>(headers.network as usize)?;
    let old = [header.ttl, header.proto];
    let new = [header.ttl.wrapping_sub(1), header.proto];
    header.check = addresses(headers, ends).word(old, new).apply(header.check);
    header.ttl = new[0];
    header.src_addr = ends.source.v4_octets();
    header.dst_addr = ends.destination.v4_octets();
    Some(headers.transport as usize)
}

/// Returns the offset of the transport header.
#[inline(always)]
fn replace_v6<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, ends: &Ends) -> Option<usize> {
    let header = packet.view_mut::<Ipv6Hdr>(headers.network as usize)?;
    header.hop_limit = header.hop_limit.wrapping_sub(1);
    header.src_addr = ends.source.octets();
    header.dst_addr = ends.destination.octets();
    Some(headers.transport as usize)
}

/// RFC 7915, 4.1. Returns the offset of the transport header.
#[inline(always)]
fn v4_to_v6<P: Resize + ?Sized>(packet: &mut P, headers: &Headers, ends: &Ends) -> Result<Option<usize>, DropReason> {
    let tags = tags(packet, headers)?;
    let network = headers.network as usize;
    let Some(&old) = packet.view::<Ipv4Hdr>(network) else {
        return Ok(None);
    };
    let bare = headers.transport as usize == network + Ipv4Hdr::LEN;
    if !bare || !headers.has_ports() || lacks_checksum(packet, headers) {
        return Err(DropReason::Untranslatable);
    }
    let fragment = fragment_len(headers);
    resize(packet, &tags, difference(headers).cast_signed(), Ethernet::IPV6)?;
    let Some(header) = packet.view_mut::<Ipv6Hdr>(network) else {
        return Ok(None);
    };
    let payload = (headers.length as u16)
        .wrapping_sub(Ipv4Hdr::LEN as u16)
        .wrapping_add(fragment as u16);
    *header = Ipv6Hdr {
        vcf: [0x60 | old.tos >> 4, old.tos << 4, 0, 0],
        payload_len: payload.to_be_bytes(),
        next_hdr: if fragment == 0 { old.proto } else { protocol::FRAGMENT },
        hop_limit: old.ttl.wrapping_sub(1),
        src_addr: ends.source.octets(),
        dst_addr: ends.destination.octets(),
    };
    if fragment == 0 {
        return Ok(Some(network + Ipv6Hdr::LEN));
    }
    let Some(header) = packet.view_mut::<[u8; FRAGMENT_LEN]>(network + Ipv6Hdr::LEN) else {
        return Ok(None);
    };
    let place = u16::from_be_bytes(old.frags);
    let [high, low] = (place << 3 | place >> 13 & 1).to_be_bytes();
    let [first, second] = old.id;
    *header = [old.proto, 0, high, low, 0, 0, first, second];
    Ok(Some(network + Ipv6Hdr::LEN + FRAGMENT_LEN))
}

/// RFC 7915, 5.1. Returns the offset of the transport header.
#[inline(always)]
fn v6_to_v4<P: Resize + ?Sized>(packet: &mut P, headers: &Headers, ends: &Ends) -> Result<Option<usize>, DropReason> {
    /// IPv4 packets up to this size may be fragmented on their way; IPv6 links take them whole (RFC 7915, 5.1).
    const FRAGMENTABLE: u32 = 1_260;

    let tags = tags(packet, headers)?;
    let network = headers.network as usize;
    let Some(&old) = packet.view::<Ipv6Hdr>(network) else {
        return Ok(None);
    };
    let fragment = fragment_len(headers);
    if headers.transport as usize != network + Ipv6Hdr::LEN + fragment || !headers.has_ports() {
        return Err(DropReason::Untranslatable);
    }
    let length = length(headers, Family::V4);
    if length > u16::MAX as u32 {
        return Err(DropReason::TooBig);
    }
    let place = if fragment == 0 {
        // The sum over a packet's content is as good as any counter at telling its fragments from those of others.
        transport_checksum(packet, headers).map(|identification| {
            if length <= FRAGMENTABLE {
                Place {
                    identification,
                    part: [0; 2],
                }
            } else {
                ATOMIC
            }
        })
    } else {
        packet.view(network + Ipv6Hdr::LEN).map(v4_place)
    };
    let Some(place) = place else {
        return Ok(None);
    };
    resize(packet, &tags, -difference(headers).cast_signed(), Ethernet::IPV4)?;
    let Some(header) = packet.view_mut::<Ipv4Hdr>(network) else {
        return Ok(None);
    };
    let [first, second, ..] = old.vcf;
    let outline = Outline {
        class: first << 4 | second >> 4,
        ttl: old.hop_limit.wrapping_sub(1),
        protocol: headers.protocol,
        payload: (length as u16).wrapping_sub(Ipv4Hdr::LEN as u16),
    };
    *header = outline.ipv4(place, ends.source, ends.destination);
    Ok(Some(network + Ipv4Hdr::LEN))
}

/// The change of a checksum over the addresses. Length and protocol count the same in both pseudo-headers.
#[inline(always)]
const fn addresses(headers: &Headers, ends: &Ends) -> Update {
    Update::NONE
        .address(headers.source, ends.source)
        .address(headers.destination, ends.destination)
}

#[inline(always)]
fn replace_transport<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    ends: &Ends,
    transport: usize,
) -> Option<()> {
    if headers.fragment.piece == Piece::Later {
        return Some(());
    }
    let update = addresses(headers, ends)
        .word(headers.ports.source, ends.ports.source)
        .word(headers.ports.destination, ends.ports.destination);
    match headers.protocol {
        protocol::TCP => {
            let header = packet.view_mut::<Tcp>(transport)?;
            header.checksum = update.apply(header.checksum);
            header.source = ends.ports.source;
            header.destination = ends.ports.destination;
        }
        protocol::UDP => {
            let header = packet.view_mut::<UdpHdr>(transport)?;
            header.check = update.apply_udp(header.check);
            header.src = ends.ports.source;
            header.dst = ends.ports.destination;
        }
        protocol::ICMPV6 => {
            let checksum = packet.view_mut::<[u8; 2]>(transport + icmp::CHECKSUM)?;
            *checksum = addresses(headers, ends).apply(*checksum);
        }
        // ICMP has no pseudo-header.
        _ => {}
    }
    Some(())
}

/// Identification, and flags with offset, of a fragment with this header in IPv6.
#[inline(always)]
const fn v4_place(header: &[u8; FRAGMENT_LEN]) -> Place {
    let [_, _, high, low, _, _, first, second] = *header;
    let place = u16::from_be_bytes([high, low]);
    Place {
        identification: [first, second],
        part: (place >> 3 | (place & 1) << 13).to_be_bytes(),
    }
}

/// Whether this is a UDP datagram without a checksum, which IPv4 allows and IPv6 does not (RFC 8200, 8.1).
#[inline(always)]
fn lacks_checksum<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> bool {
    headers.protocol == protocol::UDP
        && headers.fragment.piece != Piece::Later
        && transport_checksum(packet, headers) == Some([0; 2])
}

#[inline(always)]
fn transport_checksum<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<[u8; 2]> {
    let transport = headers.transport as usize;
    if headers.protocol == protocol::TCP {
        Some(packet.view::<Tcp>(transport)?.checksum)
    } else {
        Some(packet.view::<UdpHdr>(transport)?.check)
    }
}

/// The packet's VLAN tags. Read before its other headers: behind their checks the compiler would leave out its own, which the
/// verifier insists on.
#[inline(always)]
fn tags<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Result<Tags, DropReason> {
    Tags::read(packet, 0, headers.network as usize).ok_or(DropReason::Malformed)
}

/// Makes the packet longer by `bytes` in front, and puts the tags there. MACs and what follows on `ether_type` have no content
/// then.
#[inline(always)]
fn resize<P: Resize + ?Sized>(
    packet: &mut P,
    tags: &Tags,
    bytes: i32,
    ether_type: EtherType,
) -> Result<(), DropReason> {
    packet.grow_front(bytes).ok_or(DropReason::NoHeadroom)?;
    tags.write(packet, ether_type).ok_or(DropReason::Malformed)
}

#[cfg(test)]
mod tests;

//! Tunnel headers: IP in IP (RFC 2003, RFC 2473, RFC 4213) and Generic UDP Encapsulation
//! (draft-ietf-intarea-gue-09, version 0).
//!
//! The two families mix: the outer header is of the family of the tunnel's ends, the inner one stays what it is.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::{Address, NextHop, Port, protocol},
    checksum::Sum,
    hash,
    packet::{Ethernet, Family, Headers, Link, Packet, Tcp, Wire},
};

/// UDP port of the receiver of Generic UDP Encapsulation (IANA).
pub const GUE_PORT: Port = 6080_u16.to_be_bytes();

/// TTL or hop limit of outer headers: a tunnel is one hop to the packet inside, whatever is on the way.
const OUTER_TTL: u8 = 64;

/// "Don't fragment" (RFC 791, 3.1). Outer packets are never fragmented: nothing puts them together again behind the
/// tunnel, and with this flag they need no identification (RFC 6864, 4).
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];

/// How a packet is put into another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// Directly behind an IP header.
    Ipip,
    /// In a UDP datagram, whose source port tells flows apart to what balances load on the way.
    Gue,
}

impl Encapsulation {
    /// Bytes that it adds in front of a packet under an outer header of the family `outer`.
    #[inline(always)]
    pub const fn overhead(self, outer: Family) -> u32 {
        let ip = match outer {
            Family::V4 => Ipv4Hdr::LEN,
            Family::V6 => Ipv6Hdr::LEN,
        };
        let udp = match self {
            Self::Ipip => 0,
            Self::Gue => UdpHdr::LEN + Gue::LEN,
        };
        (ip + udp) as u32
    }
}

/// A version 0 header of Generic UDP Encapsulation that carries a packet and no extensions.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gue {
    /// Version (2 bits), whether this is a control message (1), length of the extensions in words of four bytes (5).
    pub version_and_length: u8,
    /// IP protocol number of what follows.
    pub protocol: u8,
    /// Which extensions there are.
    pub flags: [u8; 2],
}

impl Gue {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
}

const _: () = assert!(align_of::<Gue>() == 1);
// SAFETY: the assertion checks the alignment, and the header consists of bytes only.
unsafe impl Wire for Gue {}

/// The IP protocol number of a packet inside another.
#[inline(always)]
pub const fn protocol_of(inner: Family) -> u8 {
    match inner {
        Family::V4 => protocol::IPV4,
        Family::V6 => protocol::IPV6,
    }
}

/// The two ends of a tunnel, which are of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Where packets are put in.
    pub source: Address,
    /// Where they are taken out.
    pub destination: Address,
}

impl Ends {
    /// The family of the outer header.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.destination.is_v4() {
            Family::V4
        } else {
            Family::V6
        }
    }
}

/// What the headers in front of a packet depend on. It is read before room is made for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner {
    link: Link,
    family: Family,
    traffic_class: u8,
    length: u32,
    flow: u32,
    sum: Option<Sum>,
}

impl Inner {
    /// Reads a packet that is to be put into another.
    ///
    /// `None` means that the packet no longer holds the headers that were parsed.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Self> {
        let network = headers.network as usize;
        Some(Self {
            link: Link::read(packet, network)?,
            family: headers.family,
            traffic_class: traffic_class(packet, headers.family, network)?,
            length: headers.length,
            flow: flow(headers),
            sum: sum(packet, headers),
        })
    }
}

/// Writes the headers of the tunnel and the frame into the room in front of a packet, whose first byte is the packet's
/// now: [`overhead`](Encapsulation::overhead) bytes, behind which stands what `inner` was read from. The frame keeps
/// its VLAN tags.
///
/// The outer header takes over the traffic class, by which congestion that is signalled on the way (ECN) gets to the
/// receiver (RFC 6040, 4.1, normal mode; RFC 2983, 3, uniform model).
///
/// `None` means that there is no room, or that the packet has become too long for the outer header's length.
#[inline(always)]
pub fn wrap<P: Packet + ?Sized>(
    packet: &mut P,
    inner: &Inner,
    encapsulation: Encapsulation,
    ends: Ends,
    next_hop: &NextHop,
) -> Option<()> {
    let link = inner.link.toward(next_hop);
    let network = link.length();
    let length = u16::try_from(inner.length + encapsulation.overhead(ends.family())).ok()?;
    let protocol = match encapsulation {
        Encapsulation::Ipip => protocol_of(inner.family),
        Encapsulation::Gue => protocol::UDP,
    };
    let (ether_type, ip_len) = match ends.family() {
        Family::V4 => {
            *packet.view_mut(network)? = ipv4_header(inner, protocol, length, ends);
            (Ethernet::IPV4, Ipv4Hdr::LEN)
        }
        Family::V6 => {
            *packet.view_mut(network)? = ipv6_header(inner, protocol, length - Ipv6Hdr::LEN as u16, ends);
            (Ethernet::IPV6, Ipv6Hdr::LEN)
        }
    };
    if encapsulation == Encapsulation::Gue {
        let udp = network + ip_len;
        let gue = gue_header(inner);
        *packet.view_mut(udp)? = udp_header(inner, gue, length - ip_len as u16, ends);
        *packet.view_mut(udp + UdpHdr::LEN)? = gue;
    }
    link.write(packet, ether_type)
}

#[inline(always)]
fn ipv4_header(inner: &Inner, protocol: u8, length: u16, ends: Ends) -> Ipv4Hdr {
    const VERSION_AND_LENGTH: u8 = 4 << 4 | 5;
    let (source, destination) = (ends.source.v4_octets(), ends.destination.v4_octets());
    let length = length.to_be_bytes();
    let check = Sum::ZERO
        .add_word([VERSION_AND_LENGTH, inner.traffic_class])
        .add_word(length)
        .add_word(DONT_FRAGMENT)
        .add_word([OUTER_TTL, protocol])
        .add_v4(source)
        .add_v4(destination)
        .checksum();
    Ipv4Hdr {
        vihl: VERSION_AND_LENGTH,
        tos: inner.traffic_class,
        tot_len: length,
        id: [0; 2],
        frags: DONT_FRAGMENT,
        ttl: OUTER_TTL,
        proto: protocol,
        check,
        src_addr: source,
        dst_addr: destination,
    }
}

/// The flow label tells flows apart to what balances load on the way (RFC 6438, 3).
#[inline(always)]
fn ipv6_header(inner: &Inner, protocol: u8, payload_length: u16, ends: Ends) -> Ipv6Hdr {
    let [_, high, middle, low] = inner.flow.to_be_bytes();
    Ipv6Hdr {
        vcf: [
            6 << 4 | inner.traffic_class >> 4,
            inner.traffic_class << 4 | high & 0x0f,
            middle,
            low,
        ],
        payload_len: payload_length.to_be_bytes(),
        next_hdr: protocol,
        hop_limit: OUTER_TTL,
        src_addr: ends.source.octets(),
        dst_addr: ends.destination.octets(),
    }
}

#[inline(always)]
const fn gue_header(inner: &Inner) -> Gue {
    Gue {
        version_and_length: 0,
        protocol: protocol_of(inner.family),
        flags: [0; 2],
    }
}

/// The source port is one of the 16,384 dynamic ones (RFC 6335, 6), by the flow inside (RFC 7510 does the same for MPLS).
#[inline(always)]
fn udp_header(inner: &Inner, gue: Gue, length: u16, ends: Ends) -> UdpHdr {
    let source = (0xc000 | inner.flow as u16).to_be_bytes();
    UdpHdr {
        src: source,
        dst: GUE_PORT,
        len: length.to_be_bytes(),
        check: udp_checksum(inner, gue, source, length.to_be_bytes(), ends),
    }
}

/// The checksum of the outer UDP datagram. Under IPv4 there is none (RFC 768). Under IPv6 it follows from the sum of the
/// packet inside; where that is not known there is none either, which tunnels may do (RFC 6935, RFC 6936).
#[inline(always)]
fn udp_checksum(inner: &Inner, gue: Gue, source: Port, length: [u8; 2], ends: Ends) -> [u8; 2] {
    let (Family::V6, Some(sum)) = (ends.family(), inner.sum) else {
        return [0; 2];
    };
    let checksum = sum
        .add_address(ends.source)
        .add_address(ends.destination)
        // The length counts twice: in the pseudo-header and in the header.
        .add_word(length)
        .add_word(length)
        .add_word([0, protocol::UDP])
        .add_word(source)
        .add_word(GUE_PORT)
        .add_word([gue.version_and_length, gue.protocol])
        .add_word(gue.flags)
        .checksum();
    // Zero would mean that there is none.
    if checksum == [0; 2] { [0xff; 2] } else { checksum }
}

#[inline(always)]
fn traffic_class<P: Packet + ?Sized>(packet: &P, family: Family, network: usize) -> Option<u8> {
    Some(match family {
        Family::V4 => packet.view::<Ipv4Hdr>(network)?.tos,
        Family::V6 => {
            let [first, second, ..] = packet.view::<Ipv6Hdr>(network)?.vcf;
            first << 4 | second >> 4
        }
    })
}

/// Hashes what belongs to one connection of a client. It has nothing in common with the hash that chose the backend, by
/// which the flows of one backend would be alike.
#[inline(always)]
fn flow(headers: &Headers) -> u32 {
    let [a, b] = headers.ports.source;
    let [c, d] = headers.ports.destination;
    (hash::words(headers.source.words(), u32::from_be_bytes([a, b, c, d])) >> 32) as u32
}

/// The sum of a packet's words, without reading them all: an IPv4 header sums up to all ones by its own checksum, and a
/// TCP segment or UDP datagram does so together with its pseudo-header. It is wrong where those checksums are, and so is
/// then what it is used for.
///
/// `None` where a part of the packet is under no checksum: behind IPv6 extension headers, a UDP datagram without one, or
/// bytes behind a UDP datagram's end.
#[inline(always)]
fn sum<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Sum> {
    let (network, transport) = (headers.network as usize, headers.transport as usize);
    let length = ((network + headers.length as usize - transport) as u16).to_be_bytes();
    if headers.protocol == protocol::UDP {
        let header = packet.view::<UdpHdr>(transport)?;
        if header.check == [0; 2] || header.len != length {
            return None;
        }
    } else {
        packet.view::<Tcp>(transport)?;
    }
    let pseudo_header = Sum::ZERO.add_word(length).add_word([0, headers.protocol]);
    match headers.family {
        Family::V4 => Some(
            pseudo_header
                .add_address(headers.source)
                .add_address(headers.destination)
                .complement(),
        ),
        Family::V6 if transport == network + Ipv6Hdr::LEN => {
            let header = packet.view::<Ipv6Hdr>(network)?;
            let [a, b, c, d] = header.vcf;
            // The addresses stand in both, so they cancel each other out.
            let header = Sum::ZERO
                .add_word([a, b])
                .add_word([c, d])
                .add_word(header.payload_len)
                .add_word([header.next_hdr, header.hop_limit]);
            Some(pseudo_header.complement().plus(header))
        }
        Family::V6 => None,
    }
}

#[cfg(test)]
mod tests;

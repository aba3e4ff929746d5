//! Packets as nearly all are.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{
    Ethernet, Family, Fragment, Headers, Packet, Ports, ipv4, ipv6, is_for_one_host, is_transport, note_ports,
};
use crate::abi::Address;

/// Version 4 and a header of five words: no options.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;

/// Parses a whole packet with ports, without VLAN tags, IPv4 options or IPv6 extension headers, if no call is needed to tell that
/// all of it is there: then every header is at a place that is known beforehand. What it parses, [`parse`](super::parse()) parses
/// alike.
///
/// `None` says nothing but that the packet is to be parsed the long way.
#[inline(always)]
pub fn parse_plain<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    match plain_family(packet)? {
        Family::V4 => parse_plain_ipv4(packet),
        Family::V6 => parse_plain_ipv6(packet),
    }
}

/// The IP version of a packet in a frame without VLAN tags.
#[inline(always)]
pub fn plain_family<P: Packet + ?Sized>(packet: &P) -> Option<Family> {
    // As one number: the compiler for BPF compares arrays a byte at a time.
    const IPV4: u16 = u16::from_ne_bytes(Ethernet::IPV4);
    const IPV6: u16 = u16::from_ne_bytes(Ethernet::IPV6);
    match u16::from_ne_bytes(packet.view::<Ethernet>(0)?.ether_type) {
        IPV4 => Some(Family::V4),
        IPV6 => Some(Family::V6),
        _ => None,
    }
}

/// Sender and receiver of an IPv4 packet whose header says that it carries TCP or UDP, whatever else it says.
#[inline(always)]
pub fn ends_ipv4<P: Packet + ?Sized>(packet: &P) -> Option<[Address; 2]> {
    let header: &Ipv4Hdr = packet.view(Ethernet::LEN)?;
    is_transport(header.proto).then_some([Address::v4(header.src_addr), Address::v4(header.dst_addr)])
}

/// Sender and receiver of an IPv6 packet whose header says that TCP or UDP follows on it, whatever else it says.
#[inline(always)]
pub fn ends_ipv6<P: Packet + ?Sized>(packet: &P) -> Option<[Address; 2]> {
    let header: &Ipv6Hdr = packet.view(Ethernet::LEN)?;
    is_transport(header.next_hdr).then_some([Address::v6(header.src_addr), Address::v6(header.dst_addr)])
}

/// The rest of [`parse_plain`] for IPv4.
#[inline(always)]
pub fn parse_plain_ipv4<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    complete(packet, ipv4(packet.view(Ethernet::LEN)?)?)
}

/// The rest of [`parse_plain`] for IPv6.
#[inline(always)]
pub fn parse_plain_ipv6<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    complete(packet, ipv6(packet.view(Ethernet::LEN)?)?)
}

#[inline(always)]
fn complete<P: Packet + ?Sized>(packet: &P, mut headers: Headers) -> Option<Headers> {
    if !is_for_one_host(packet.view(0)?) || !packet.surely_has(Ethernet::LEN + headers.length as usize) {
        return None;
    }
    note_ports(packet, &mut headers).ok()?;
    Some(headers)
}

#[inline(always)]
fn ipv4(header: &Ipv4Hdr) -> Option<Headers> {
    let length = u16::from_be_bytes(header.tot_len);
    let is_plain =
        header.vihl == IPV4_WITHOUT_OPTIONS && !ipv4::is_fragment(header) && !may_be_martian(header.src_addr);
    is_plain.then_some(Headers {
        source: Address::v4(header.src_addr),
        destination: Address::v4(header.dst_addr),
        length: length as u32,
        transport: (Ethernet::LEN + Ipv4Hdr::LEN) as u16,
        family: Family::V4,
        protocol: header.proto,
        ttl: header.ttl,
        ..PLAIN
    })
}

/// Whether a router may not forward what comes from this address, by its first byte alone: some of the addresses that are
/// reserved are taken for martian too.
#[inline(always)]
const fn may_be_martian(source: [u8; 4]) -> bool {
    let [first, ..] = source;
    !matches!(first, 1..=126 | 128..=223)
}

#[inline(always)]
fn ipv6(header: &Ipv6Hdr) -> Option<Headers> {
    let (source, destination) = (Address::v6(header.src_addr), Address::v6(header.dst_addr));
    let is_plain = header.vcf[0] >> 4 == 6 && !ipv6::is_martian(source) && !destination.is_v4();
    is_plain.then_some(Headers {
        source,
        destination,
        length: Ipv6Hdr::LEN as u32 + u16::from_be_bytes(header.payload_len) as u32,
        transport: (Ethernet::LEN + Ipv6Hdr::LEN) as u16,
        family: Family::V6,
        protocol: header.next_hdr,
        ttl: header.hop_limit,
        ..PLAIN
    })
}

/// What such packets have in common.
const PLAIN: Headers = Headers {
    ports: Ports::NONE,
    fragment: Fragment::NONE,
    network: Ethernet::LEN as u16,
    ..Headers::EMPTY
};

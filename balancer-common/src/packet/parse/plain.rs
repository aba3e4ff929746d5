//! Packets as nearly all are.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Ethernet, Family, Fragment, Headers, Packet, Ports, ipv4, ipv6, is_transport, note_ports};
use crate::{abi::Address, packet::Wire};

/// Version 4 and a header of five words: no options.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;

/// What each such frame begins with, viewed as one, so that it is asked once whether it is there.
#[repr(C)]
#[derive(Clone, Copy)]
struct Beginning<Ip> {
    ethernet: Ethernet,
    ip: Ip,
    /// The ports, and as much again as every transport header has.
    _transport: [u8; 8],
}

// SAFETY: it is made of such types, so it has alignment 1 and takes any bytes.
unsafe impl<Ip: Wire> Wire for Beginning<Ip> {}

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
    let shortest: &Beginning<Ipv4Hdr> = packet.view(0)?;
    match u16::from_ne_bytes(shortest.ethernet.ether_type) {
        IPV4 => Some(Family::V4),
        IPV6 => Some(Family::V6),
        _ => None,
    }
}

/// Sender and receiver of an IPv4 packet whose header says that it carries TCP or UDP, whatever else it says.
#[inline(always)]
pub fn ends_ipv4<P: Packet + ?Sized>(packet: &P) -> Option<[Address; 2]> {
    let Beginning { ip, .. }: &Beginning<Ipv4Hdr> = packet.view(0)?;
    is_transport(ip.proto).then_some([Address::v4(ip.src_addr), Address::v4(ip.dst_addr)])
}

/// Sender and receiver of an IPv6 packet whose header says that TCP or UDP follows on it, whatever else it says.
#[inline(always)]
pub fn ends_ipv6<P: Packet + ?Sized>(packet: &P) -> Option<[Address; 2]> {
    let Beginning { ip, .. }: &Beginning<Ipv6Hdr> = packet.view(0)?;
    is_transport(ip.next_hdr).then_some([Address::v6(ip.src_addr), Address::v6(ip.dst_addr)])
}

/// The rest of [`parse_plain`] for IPv4.
#[inline(always)]
pub fn parse_plain_ipv4<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    let Beginning { ethernet, ip, .. }: &Beginning<Ipv4Hdr> = packet.view(0)?;
    // One decision for all that is rare.
    let rare = (ip.vihl ^ IPV4_WITHOUT_OPTIONS) as u16 | ethernet.group_bit() as u16 | ipv4::fragment_bits(ip);
    if rare != 0 || may_be_martian(ip.src_addr) {
        return None;
    }
    let headers = Headers {
        source: Address::v4(ip.src_addr),
        destination: Address::v4(ip.dst_addr),
        length: u16::from_be_bytes(ip.tot_len) as u32,
        transport: (Ethernet::LEN + Ipv4Hdr::LEN) as u16,
        family: Family::V4,
        protocol: ip.proto,
        ttl: ip.ttl,
        ..PLAIN
    };
    complete(packet, headers)
}

/// The rest of [`parse_plain`] for IPv6.
#[inline(always)]
pub fn parse_plain_ipv6<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    let Beginning { ethernet, ip, .. }: &Beginning<Ipv6Hdr> = packet.view(0)?;
    let (source, destination) = (Address::v6(ip.src_addr), Address::v6(ip.dst_addr));
    let rare = (ip.vcf[0] >> 4 ^ 6) | ethernet.group_bit();
    if rare != 0 || ipv6::is_martian(source) || destination.is_v4() {
        return None;
    }
    let headers = Headers {
        source,
        destination,
        length: Ipv6Hdr::LEN as u32 + u16::from_be_bytes(ip.payload_len) as u32,
        transport: (Ethernet::LEN + Ipv6Hdr::LEN) as u16,
        family: Family::V6,
        protocol: ip.next_hdr,
        ttl: ip.hop_limit,
        ..PLAIN
    };
    complete(packet, headers)
}

#[inline(always)]
fn complete<P: Packet + ?Sized>(packet: &P, mut headers: Headers) -> Option<Headers> {
    if !packet.surely_has(Ethernet::LEN + headers.length as usize) {
        return None;
    }
    note_ports(packet, &mut headers).ok()?;
    Some(headers)
}

/// Whether a router may not forward what comes from this address, by its first byte alone: some of the addresses that are
/// reserved are taken for martian too.
#[inline(always)]
const fn may_be_martian(source: [u8; 4]) -> bool {
    let [first, ..] = source;
    !matches!(first, 1..=126 | 128..=223)
}

/// What such packets have in common.
const PLAIN: Headers = Headers {
    ports: Ports::NONE,
    fragment: Fragment::NONE,
    network: Ethernet::LEN as u16,
    ..Headers::EMPTY
};

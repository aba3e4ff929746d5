//! From the first byte of a frame to the ports of its flow.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::{EtherType, Ethernet, Ipv6Extension, Packet, Tcp, Vlan};
use crate::abi::{Address, Port, protocol};

/// VLAN tags that are looked through: customer and service tag (IEEE 802.1ad).
const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers that are looked through: each of RFC 8200's, once, and one to spare for destination options,
/// which may stand in two places.
const MAX_EXTENSIONS: usize = 6;

/// IPv6 next-header numbers of the extension headers that are looked through (IANA).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// IP version.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4 (RFC 791).
    V4 = 4,
    /// IPv6 (RFC 8200).
    V6 = 6,
}

/// The two ports of a TCP segment or UDP datagram, in network order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The sender's.
    pub source: Port,
    /// The receiver's.
    pub destination: Port,
}

/// What the data plane needs to know of a TCP or UDP packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// Ports.
    pub ports: Ports,
    /// Bytes of the IP packet, its header included.
    pub length: u32,
    /// Offset of the IP header.
    pub network: u16,
    /// Offset of the TCP or UDP header.
    pub transport: u16,
    /// IP version.
    pub family: Family,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
}

/// Why a packet has no [`Headers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparsed {
    /// Neither TCP nor UDP over IP, or cut off before its destination could be known.
    Foreign,
    /// A fragment to this address: only the first of a datagram carries ports.
    Fragment(Address),
    /// A packet to this address whose headers contradict each other or its length.
    Malformed(Address),
}

/// Parses Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension headers, and TCP or UDP.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Headers, Unparsed> {
    let (ether_type, network) = link(packet).ok_or(Unparsed::Foreign)?;
    match ether_type {
        Ethernet::IPV4 => ipv4(packet, network),
        Ethernet::IPV6 => ipv6(packet, network),
        _ => Err(Unparsed::Foreign),
    }
}

/// The type and the offset of what follows Ethernet header and VLAN tags.
#[inline(always)]
fn link<P: Packet + ?Sized>(packet: &P) -> Option<(EtherType, usize)> {
    let mut ether_type = packet.view::<Ethernet>(0)?.ether_type;
    let mut offset = Ethernet::LEN;
    for _ in 0..MAX_VLAN_TAGS {
        if !matches!(ether_type, Ethernet::VLAN | Ethernet::SERVICE_VLAN) {
            break;
        }
        ether_type = packet.view::<Vlan>(offset)?.ether_type;
        offset += Vlan::LEN;
    }
    Some((ether_type, offset))
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv4Hdr>(network).ok_or(Unparsed::Foreign)?;
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
    let ports = ports(packet, header.proto, transport, length - header_len, malformed)?;
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
    })
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Headers, Unparsed> {
    let header = packet.view::<Ipv6Hdr>(network).ok_or(Unparsed::Foreign)?;
    let source = Address::v6(header.src_addr);
    let destination = Address::v6(header.dst_addr);
    // On the wire an IPv4-mapped address is a forgery (RFC 4291, 2.5.5.2); here it would pass for the IPv4 one.
    if source.is_v4() || destination.is_v4() {
        return Err(Unparsed::Foreign);
    }
    let malformed = Unparsed::Malformed(destination);
    let length = Ipv6Hdr::LEN + u16::from_be_bytes(header.payload_len) as usize;
    if header.vcf[0] >> 4 != 6 || !packet.has(network + length) {
        return Err(malformed);
    }
    let (protocol, extensions) = skip_extensions(packet, network, header.next_hdr, destination)?;
    let transport = network + Ipv6Hdr::LEN + extensions;
    let payload = length.checked_sub(Ipv6Hdr::LEN + extensions).ok_or(malformed)?;
    let ports = ports(packet, protocol, transport, payload, malformed)?;
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
    })
}

/// The protocol behind the extension headers of the IPv6 packet at `network`, and their length in bytes.
#[inline(always)]
fn skip_extensions<P: Packet + ?Sized>(
    packet: &P,
    network: usize,
    mut protocol: u8,
    destination: Address,
) -> Result<(u8, usize), Unparsed> {
    let mut skipped = 0_usize;
    for _ in 0..MAX_EXTENSIONS {
        // Only what is an extension header is looked into: a short TCP or UDP payload is not one cut off.
        let unit = match protocol {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => 8,
            // RFC 4302, 2.2: in 4-byte units, minus 2.
            extension::AUTHENTICATION => 4,
            extension::FRAGMENT => 0,
            _ => return Ok((protocol, skipped)),
        };
        let header = packet
            .view::<Ipv6Extension>(network + Ipv6Hdr::LEN + skipped)
            .ok_or(Unparsed::Malformed(destination))?;
        if protocol == extension::FRAGMENT {
            let [high, low, ..] = header.content;
            // Offset (13 bits), reserved (2), more fragments (1). An atomic fragment (RFC 6946) is a whole packet.
            if u16::from_be_bytes([high, low]) & 0xfff9 != 0 {
                return Err(Unparsed::Fragment(destination));
            }
        }
        skipped += Ipv6Extension::LEN + header.length as usize * unit;
        protocol = header.next_header;
    }
    Err(Unparsed::Malformed(destination))
}

/// The ports at `transport`, behind which `payload` bytes of the IP packet remain, the transport header included.
#[inline(always)]
fn ports<P: Packet + ?Sized>(
    packet: &P,
    protocol: u8,
    transport: usize,
    payload: usize,
    malformed: Unparsed,
) -> Result<Ports, Unparsed> {
    match protocol {
        protocol::TCP => {
            let header = packet.view::<Tcp>(transport).ok_or(malformed)?;
            let header_len = (header.data_offset >> 4) as usize * 4;
            if header_len < Tcp::LEN || header_len > payload {
                return Err(malformed);
            }
            Ok(Ports {
                source: header.source,
                destination: header.destination,
            })
        }
        protocol::UDP => {
            let header = packet.view::<UdpHdr>(transport).ok_or(malformed)?;
            let length = u16::from_be_bytes(header.len) as usize;
            if length < UdpHdr::LEN || length > payload {
                return Err(malformed);
            }
            Ok(Ports {
                source: header.src,
                destination: header.dst,
            })
        }
        _ => Err(Unparsed::Foreign),
    }
}

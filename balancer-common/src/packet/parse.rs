//! From the first byte of a frame to the ports of its flow.

mod ipv4;
mod ipv6;
mod plain;

pub use plain::parse_plain;

use network_types::udp::UdpHdr;

use super::{EtherType, Ethernet, Packet, Tcp, Vlan, tags::MAX_VLAN_TAGS};
use crate::abi::{Address, Port, protocol};

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
    /// The [flags](crate::affinity::tcp) of the TCP header; 0 for UDP.
    pub tcp_flags: u8,
}

impl Headers {
    /// The headers of no packet.
    pub const EMPTY: Self = Self {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        ports: Ports {
            source: [0; 2],
            destination: [0; 2],
        },
        length: 0,
        network: 0,
        transport: 0,
        family: Family::V4,
        protocol: 0,
        ttl: 0,
        tcp_flags: 0,
    };
}

/// Why a packet has no [`Headers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparsed {
    /// Not the balancer's business: neither TCP nor UDP over IP, sent to a link-layer group, from an address that no
    /// router forwards for, on a source route to somewhere else, or cut off before its destination could be known.
    Foreign,
    /// A fragment to this address: only the first of a datagram carries ports.
    Fragment(Address),
    /// A packet to this address whose headers contradict each other or its length, or that has more extension headers than
    /// are looked through.
    Malformed(Address),
}

/// Parses Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension headers, and TCP or UDP.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Headers, Unparsed> {
    let (ether_type, network) = link(packet).ok_or(Unparsed::Foreign)?;
    match ether_type {
        Ethernet::IPV4 => ipv4::parse(packet, network),
        Ethernet::IPV6 => ipv6::parse(packet, network),
        _ => Err(Unparsed::Foreign),
    }
}

/// What was sent to a group of hosts is not to be forwarded by each of them (RFC 1812, 5.3.4).
#[inline(always)]
const fn is_for_one_host(ethernet: &Ethernet) -> bool {
    ethernet.destination[0] & 1 == 0
}

/// The type and the offset of what follows Ethernet header and VLAN tags in a frame for a single host.
#[inline(always)]
pub fn link<P: Packet + ?Sized>(packet: &P) -> Option<(EtherType, usize)> {
    let ethernet = packet.view::<Ethernet>(0)?;
    if !is_for_one_host(ethernet) {
        return None;
    }
    let mut ether_type = ethernet.ether_type;
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

/// Whether packets of this protocol have ports that a service can be found by.
#[inline(always)]
const fn is_transport(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP)
}

/// The ports and TCP flags at `transport`, behind which `payload` bytes of the IP packet remain, the transport header included.
#[inline(always)]
fn ports<P: Packet + ?Sized>(
    packet: &P,
    protocol: u8,
    transport: usize,
    payload: usize,
    malformed: Unparsed,
) -> Result<(Ports, u8), Unparsed> {
    match protocol {
        protocol::TCP => {
            let header = packet.view::<Tcp>(transport).ok_or(malformed)?;
            let header_len = (header.data_offset >> 4) as usize * 4;
            if header_len < Tcp::LEN || header_len > payload {
                return Err(malformed);
            }
            let ports = Ports {
                source: header.source,
                destination: header.destination,
            };
            Ok((ports, header.flags))
        }
        protocol::UDP => {
            let header = packet.view::<UdpHdr>(transport).ok_or(malformed)?;
            let length = u16::from_be_bytes(header.len) as usize;
            if length < UdpHdr::LEN || length > payload {
                return Err(malformed);
            }
            let ports = Ports {
                source: header.src,
                destination: header.dst,
            };
            Ok((ports, 0))
        }
        _ => Err(Unparsed::Foreign),
    }
}

#[cfg(test)]
mod tests;

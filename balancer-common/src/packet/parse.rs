//! From the first byte of a frame to the ports of its flow.

mod ipv4;
mod ipv6;
mod plain;
mod quoted;

pub use plain::{ends_ipv4, ends_ipv6, parse_plain, parse_plain_ipv4, parse_plain_ipv6, plain_family};

use network_types::udp::UdpHdr;

use super::{EtherType, Ethernet, Packet, Tcp, Vlan, tags::MAX_VLAN_TAGS};
use crate::{
    abi::{ANY_PORT, Address, Port, protocol},
    icmp,
};

pub use quoted::{parse_quoted, parse_quoted_network, parse_quoted_ports};

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

impl Ports {
    /// Those of an answer: sender and receiver change places.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }

    /// Those of a packet that shows none.
    pub const NONE: Self = Self {
        source: ANY_PORT,
        destination: ANY_PORT,
    };
}

/// What of its packet a fragment is (RFC 791, 3.2; RFC 8200, 4.5).
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// All of it: it is no fragment.
    Whole = 0,
    /// The first piece, the only one with a transport header.
    First = 1,
    /// A later one.
    Later = 2,
}

/// Which packet a fragment is a piece of.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// What the sender tells its packets apart by: 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// The number that identifications are given out for: in IPv4 the protocol's, in IPv6, which has one count for all,
    /// [`protocol::FRAGMENT`].
    pub protocol: u8,
    /// Which piece.
    pub piece: Piece,
    /// What the packet carries, as far as this fragment says: a protocol number, or that of an extension header.
    pub carries: u8,
}

impl Fragment {
    /// That of a packet that is none.
    pub const NONE: Self = Self {
        identification: 0,
        protocol: 0,
        piece: Piece::Whole,
        carries: 0,
    };
}

/// What the data plane needs to know of a packet.
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
    /// Which packet it is a piece of.
    pub fragment: Fragment,
    /// Offset of the IP header.
    pub network: u16,
    /// Offset of what the IP packet carries: the TCP, UDP or ICMP header, or the data of a later fragment.
    pub transport: u16,
    /// IP version.
    pub family: Family,
    /// What stands at `transport`: [`protocol::TCP`] or [`protocol::UDP`], which have ports, [`protocol::ICMP`] or
    /// [`protocol::ICMPV6`], or, for a later fragment as it was parsed, [`protocol::FRAGMENT`].
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The [flags](crate::affinity::tcp) of the TCP header; 0 for all else.
    pub tcp_flags: u8,
}

impl Headers {
    /// The headers of no packet.
    pub const EMPTY: Self = Self {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        ports: Ports::NONE,
        length: 0,
        fragment: Fragment::NONE,
        network: 0,
        transport: 0,
        family: Family::V4,
        protocol: 0,
        ttl: 0,
        tcp_flags: 0,
    };

    /// Whether the ports are known.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        is_transport(self.protocol)
    }

    /// Bytes of what the IP packet carries.
    #[inline(always)]
    pub(crate) const fn payload(&self) -> usize {
        let headers = self.transport.wrapping_sub(self.network) as usize;
        (self.length as usize).wrapping_sub(headers)
    }

    /// Those of an answer: sender and receiver change places.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.reversed(),
            ..*self
        }
    }
}

/// Why a packet has no [`Headers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparsed {
    /// Not the balancer's business: neither TCP, UDP nor ICMP over IP, a fragment of ICMP, sent to a link-layer group, from an
    /// address that no router forwards for, on a source route to somewhere else, or cut off before its destination could
    /// be known.
    Foreign,
    /// A packet to this address whose headers contradict each other or its length, or that has more extension headers than
    /// are looked through.
    Malformed(Address),
}

/// Parses Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension headers, and the ports of TCP or UDP.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Headers, Unparsed> {
    let mut headers = parse_network(packet)?;
    parse_transport(packet, &mut headers)?;
    Ok(headers)
}

/// The first part of [`parse`]: all but what stands in the transport header.
#[inline(always)]
pub fn parse_network<P: Packet + ?Sized>(packet: &P) -> Result<Headers, Unparsed> {
    let (ether_type, network) = link(packet).ok_or(Unparsed::Foreign)?;
    match ether_type {
        Ethernet::IPV4 => ipv4::parse(packet, network),
        Ethernet::IPV6 => ipv6::parse(packet, network),
        _ => Err(Unparsed::Foreign),
    }
}

/// The second part of [`parse`].
#[inline(always)]
pub fn parse_transport<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Unparsed> {
    if headers.protocol == protocol::FRAGMENT {
        return Ok(());
    }
    if is_icmp(headers.family, headers.protocol) && matches!(headers.fragment.piece, Piece::Whole) {
        let begin = packet.view::<[u8; icmp::HEADER_LEN]>(headers.transport as usize);
        if begin.is_none() || headers.payload() < icmp::HEADER_LEN {
            return Err(Unparsed::Malformed(headers.destination));
        }
        return Ok(());
    }
    note_ports(packet, headers)
}

/// What was sent to a group of hosts is not to be forwarded by each of them (RFC 1812, 5.3.4).
#[inline(always)]
const fn is_for_one_host(ethernet: &Ethernet) -> bool {
    ethernet.group_bit() == 0
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

/// Notes the ports in the transport header, which has to be in the packet as a whole, and its flags.
#[inline(always)]
fn note_ports<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Unparsed> {
    let malformed = Unparsed::Malformed(headers.destination);
    let transport = headers.transport as usize;
    // Not what is left of the length, which may be nothing at all.
    let before = transport.wrapping_sub(headers.network.into());
    let ends = |length: usize| before + length <= headers.length as usize;
    match headers.protocol {
        protocol::TCP => {
            let header = packet.view::<Tcp>(transport).ok_or(malformed)?;
            let header_len = (header.data_offset >> 4) as usize * 4;
            if header_len < Tcp::LEN || !ends(header_len) {
                return Err(malformed);
            }
            headers.ports = Ports {
                source: header.source,
                destination: header.destination,
            };
            headers.tcp_flags = header.flags;
            Ok(())
        }
        protocol::UDP => {
            let header = packet.view::<UdpHdr>(transport).ok_or(malformed)?;
            let length = u16::from_be_bytes(header.len) as usize;
            // The rest of the datagram may be in other fragments.
            let here = match headers.fragment.piece {
                Piece::Whole => length,
                Piece::First | Piece::Later => UdpHdr::LEN,
            };
            if length < UdpHdr::LEN || !ends(here) {
                return Err(malformed);
            }
            headers.ports = Ports {
                source: header.src,
                destination: header.dst,
            };
            Ok(())
        }
        _ => Err(Unparsed::Foreign),
    }
}

/// Whether packets of this protocol have ports that a service can be found by.
#[inline(always)]
const fn is_transport(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP)
}

/// Whether this is the protocol of control messages in the IP version.
#[inline(always)]
const fn is_icmp(family: Family, protocol: u8) -> bool {
    match family {
        Family::V4 => protocol == protocol::ICMP,
        Family::V6 => protocol == protocol::ICMPV6,
    }
}

#[cfg(test)]
mod tests;

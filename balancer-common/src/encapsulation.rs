//! Tunnel headers: IP in IP (RFC 2003, RFC 2473, RFC 4213) and Generic UDP Encapsulation
//! (draft-ietf-intarea-gue-09, version 0).
//!
//! The two families mix: the outer header is of the family of the tunnel's ends, the inner one stays what it is.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::{Address, NextHop, Port, halves, protocol},
    checksum::Sum,
    hash,
    packet::{EtherType, Ethernet, Family, Headers, Packet, Piece, Tags, Wire},
    rewrite,
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
        self.destination.family()
    }
}

/// Puts a packet into another one. In front of its frame there is room for what that [adds](Encapsulation::overhead),
/// which is where the whole now begins; `headers` are those that were parsed before the room was made. The frame keeps
/// its VLAN tags.
///
/// The outer header takes over the traffic class, by which congestion that is signalled on the way (ECN) gets to the
/// receiver (RFC 6040, 4.1, normal mode; RFC 2983, 3, uniform model).
///
/// `None` means that the frame does not hold this, or that the packet has become too long for the outer header.
#[inline(always)]
pub fn wrap<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    encapsulation: Encapsulation,
    ends: Ends,
    next_hop: &NextHop,
) -> Option<()> {
    // Each combination of families is compiled apart: a decision in the midst of the work would double the ways through
    // the program that the verifier follows.
    let [v4, v6] = [Family::V4, Family::V6];
    match (headers.family, ends.family()) {
        (Family::V4, Family::V4) => Wrapping::new(headers, v4, v4, encapsulation, ends).write(packet, next_hop),
        (Family::V4, Family::V6) => Wrapping::new(headers, v4, v6, encapsulation, ends).write(packet, next_hop),
        (Family::V6, Family::V4) => Wrapping::new(headers, v6, v4, encapsulation, ends).write(packet, next_hop),
        (Family::V6, Family::V6) => Wrapping::new(headers, v6, v6, encapsulation, ends).write(packet, next_hop),
    }
}

/// [`wrap`] for a packet that was [parsed as plain](crate::packet::parse_plain), whose frame has no VLAN tags, where the family of
/// the tunnel's ends and the packet's [traffic class](traffic_class()) are known beforehand.
#[inline(always)]
pub fn wrap_plain<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    encapsulation: Encapsulation,
    outer: Family,
    ends: Ends,
    next_hop: &NextHop,
    traffic_class: u8,
) -> Option<()> {
    Wrapping::new(headers, headers.family, outer, encapsulation, ends).write_plain(packet, next_hop, traffic_class)
}

/// The traffic class of a packet of this family whose header is at `network`.
#[inline(always)]
pub fn traffic_class<P: Packet + ?Sized>(packet: &P, family: Family, network: usize) -> Option<u8> {
    Some(match family {
        Family::V4 => packet.view::<Ipv4Hdr>(network)?.tos,
        Family::V6 => {
            let [first, second, ..] = packet.view::<Ipv6Hdr>(network)?.vcf;
            first << 4 | second >> 4
        }
    })
}

/// All that stands in front of what an outer IP header carries, written as one.
#[repr(C)]
#[derive(Clone, Copy)]
struct Front<Ip> {
    addresses: [[u8; 4]; 3],
    ether_type: EtherType,
    ip: Ip,
}

// SAFETY: it is made of bytes and of another such type, so it has alignment 1 and takes any bytes.
unsafe impl<Ip: Wire> Wire for Front<Ip> {}

/// The headers of Generic UDP Encapsulation.
#[repr(C)]
#[derive(Clone, Copy)]
struct Datagram {
    udp: UdpHdr,
    gue: Gue,
}

// SAFETY: it is made of two such types, so it has alignment 1 and takes any bytes.
unsafe impl Wire for Datagram {}

/// A [`Front`] and what follows on it, written as one.
#[repr(C)]
#[derive(Clone, Copy)]
struct FrontOfDatagram<Ip> {
    front: Front<Ip>,
    datagram: Datagram,
}

// SAFETY: it is made of two such types, so it has alignment 1 and takes any bytes.
unsafe impl<Ip: Wire> Wire for FrontOfDatagram<Ip> {}

/// A packet, and how it is put into another one.
struct Wrapping<'a> {
    headers: &'a Headers,
    inner: Family,
    outer: Family,
    encapsulation: Encapsulation,
    ends: Ends,
    /// Where the frame begins that the offsets in `headers` count from.
    start: usize,
}

impl<'a> Wrapping<'a> {
    #[inline(always)]
    fn new(headers: &'a Headers, inner: Family, outer: Family, encapsulation: Encapsulation, ends: Ends) -> Self {
        Self {
            headers,
            inner,
            outer,
            encapsulation,
            ends,
            start: encapsulation.overhead(outer) as usize,
        }
    }

    #[inline(always)]
    fn write<P: Packet + ?Sized>(&self, packet: &mut P, next_hop: &NextHop) -> Option<()> {
        let length = u16::try_from(self.headers.length as usize + self.start).ok()?;
        let tags = Tags::read(packet, self.start, self.headers.network as usize)?;
        let traffic_class = traffic_class(packet, self.inner, self.network())?;
        let network = tags.end();
        let (ether_type, header_len) = match self.outer {
            Family::V4 => (Ethernet::IPV4, Ipv4Hdr::LEN),
            Family::V6 => (Ethernet::IPV6, Ipv6Hdr::LEN),
        };
        let payload_length = (length - header_len as u16).to_be_bytes();
        rewrite::address_frame(packet, next_hop)?;
        tags.write(packet, ether_type)?;
        if self.encapsulation == Encapsulation::Gue {
            *packet.view_mut(network + header_len)? = self.datagram(packet, payload_length)?;
        }
        let protocol = self.carried_protocol();
        match self.outer {
            Family::V4 => {
                let header = packet.view_mut::<Ipv4Hdr>(network)?;
                *header = self.ipv4_header(traffic_class, length.to_be_bytes(), protocol);
            }
            Family::V6 => {
                let header = packet.view_mut::<Ipv6Hdr>(network)?;
                *header = self.ipv6_header(traffic_class, payload_length, protocol);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn write_plain<P: Packet + ?Sized>(&self, packet: &mut P, next_hop: &NextHop, traffic_class: u8) -> Option<()> {
        let length = u16::try_from(self.headers.length as usize + self.start).ok()?;
        let protocol = self.carried_protocol();
        match self.outer {
            Family::V4 => {
                let payload_length = (length - Ipv4Hdr::LEN as u16).to_be_bytes();
                let ip = self.ipv4_header(traffic_class, length.to_be_bytes(), protocol);
                self.write_front(packet, next_hop, Ethernet::IPV4, ip, payload_length)
            }
            Family::V6 => {
                let payload_length = (length - Ipv6Hdr::LEN as u16).to_be_bytes();
                let ip = self.ipv6_header(traffic_class, payload_length, protocol);
                self.write_front(packet, next_hop, Ethernet::IPV6, ip, payload_length)
            }
        }
    }

    #[inline(always)]
    fn write_front<P: Packet + ?Sized, Ip: Wire>(
        &self,
        packet: &mut P,
        next_hop: &NextHop,
        ether_type: EtherType,
        ip: Ip,
        payload_length: [u8; 2],
    ) -> Option<()> {
        let front = Front {
            addresses: next_hop.addresses(),
            ether_type,
            ip,
        };
        match self.encapsulation {
            Encapsulation::Ipip => *packet.view_mut(0)? = front,
            Encapsulation::Gue => {
                let datagram = self.datagram(packet, payload_length)?;
                *packet.view_mut(0)? = FrontOfDatagram { front, datagram };
            }
        }
        Some(())
    }

    /// The protocol number of what the outer IP header carries.
    #[inline(always)]
    fn carried_protocol(&self) -> u8 {
        match self.encapsulation {
            Encapsulation::Ipip => protocol_of(self.inner),
            Encapsulation::Gue => protocol::UDP,
        }
    }

    /// What stands between the outer IP header and the packet inside under Generic UDP Encapsulation, `length` bytes with the packet.
    #[inline(always)]
    fn datagram<P: Packet + ?Sized>(&self, packet: &P, length: [u8; 2]) -> Option<Datagram> {
        Some(Datagram {
            udp: self.udp_header(packet, length)?,
            gue: self.gue_header(),
        })
    }

    #[inline(always)]
    fn ipv4_header(&self, traffic_class: u8, length: [u8; 2], protocol: u8) -> Ipv4Hdr {
        const VERSION_AND_LENGTH: u8 = 4 << 4 | 5;
        let (source, destination) = (self.ends.source.v4_octets(), self.ends.destination.v4_octets());
        let check = Sum::ZERO
            .add_word([VERSION_AND_LENGTH, traffic_class])
            .add_word(length)
            .add_word(DONT_FRAGMENT)
            .add_word([OUTER_TTL, protocol])
            .add_v4(source)
            .add_v4(destination)
            .checksum();
        Ipv4Hdr {
            vihl: VERSION_AND_LENGTH,
            tos: traffic_class,
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
    fn ipv6_header(&self, traffic_class: u8, payload_length: [u8; 2], protocol: u8) -> Ipv6Hdr {
        let [_, high, middle, low] = self.flow().to_be_bytes();
        Ipv6Hdr {
            vcf: [
                6 << 4 | traffic_class >> 4,
                traffic_class << 4 | high & 0x0f,
                middle,
                low,
            ],
            payload_len: payload_length,
            next_hdr: protocol,
            hop_limit: OUTER_TTL,
            src_addr: self.ends.source.octets(),
            dst_addr: self.ends.destination.octets(),
        }
    }

    #[inline(always)]
    fn network(&self) -> usize {
        self.start + self.headers.network as usize
    }

    #[inline(always)]
    fn transport(&self) -> usize {
        self.start + self.headers.transport as usize
    }

    /// Hashes what belongs to one connection of a client. It has nothing in common with the hash that chose the backend, by
    /// which the flows of one backend would be alike.
    #[inline(always)]
    fn flow(&self) -> u32 {
        let ports = halves(self.headers.ports.source, self.headers.ports.destination);
        (hash::words(self.headers.source.words(), u32::from_be(ports)) >> 32) as u32
    }

    #[inline(always)]
    fn gue_header(&self) -> Gue {
        Gue {
            version_and_length: 0,
            protocol: protocol_of(self.inner),
            flags: [0; 2],
        }
    }

    /// The source port is one of the 16,384 dynamic ones (RFC 6335, 6), by the flow inside.
    #[inline(always)]
    fn udp_header<P: Packet + ?Sized>(&self, packet: &P, length: [u8; 2]) -> Option<UdpHdr> {
        let source = (0xc000 | self.flow() as u16).to_be_bytes();
        Some(UdpHdr {
            src: source,
            dst: GUE_PORT,
            len: length,
            check: self.udp_checksum(packet, source, length)?,
        })
    }

    /// The checksum of the outer UDP datagram. Under IPv4 there is none (RFC 768). Under IPv6 it follows from the sum of the
    /// packet inside; where that is not known there is none either, which tunnels may do (RFC 6935, RFC 6936).
    #[inline(always)]
    fn udp_checksum<P: Packet + ?Sized>(&self, packet: &P, source: Port, length: [u8; 2]) -> Option<[u8; 2]> {
        if self.outer == Family::V4 || !self.is_summed_up(packet)? {
            return Some([0; 2]);
        }
        let gue = self.gue_header();
        let checksum = self
            .sum(packet)?
            .add_v6(self.ends.source)
            .add_v6(self.ends.destination)
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
        Some(if checksum == [0; 2] { [0xff; 2] } else { checksum })
    }

    /// Whether every word of the packet is under a checksum in it, that of the transport with a pseudo-header. Behind IPv6
    /// extension headers, in a UDP datagram without one and behind a UDP datagram's end they are not; a fragment has only a
    /// part of what its packet's covers, and ICMP's has no pseudo-header.
    #[inline(always)]
    fn is_summed_up<P: Packet + ?Sized>(&self, packet: &P) -> Option<bool> {
        let headers = self.headers;
        if !headers.has_ports() || headers.fragment.piece != Piece::Whole {
            return Some(false);
        }
        if self.inner == Family::V6 && headers.transport != headers.network + Ipv6Hdr::LEN as u16 {
            return Some(false);
        }
        if headers.protocol == protocol::UDP {
            let header = packet.view::<UdpHdr>(self.transport())?;
            return Some(header.check != [0; 2] && header.len == self.transport_length());
        }
        Some(true)
    }

    /// The sum of the packet's words, without reading them all: an IPv4 header sums up to all ones by its own checksum, and
    /// a TCP segment or UDP datagram does so together with its pseudo-header. It is wrong where those checksums are, and so
    /// is then what it is used for.
    #[inline(always)]
    fn sum<P: Packet + ?Sized>(&self, packet: &P) -> Option<Sum> {
        let pseudo_header = Sum::ZERO
            .add_word(self.transport_length())
            .add_word([0, self.headers.protocol]);
        Some(match self.inner {
            Family::V4 => pseudo_header
                .add_v4(self.headers.source.v4_octets())
                .add_v4(self.headers.destination.v4_octets())
                .complement(),
            Family::V6 => {
                let header = packet.view::<Ipv6Hdr>(self.network())?;
                let [a, b, c, d] = header.vcf;
                // The addresses stand in header and pseudo-header, so they cancel each other out.
                let header = Sum::ZERO
                    .add_word([a, b])
                    .add_word([c, d])
                    .add_word(header.payload_len)
                    .add_word([header.next_hdr, header.hop_limit]);
                pseudo_header.complement().plus(header)
            }
        })
    }

    /// Bytes of the TCP segment or UDP datagram and of what is behind its end.
    #[inline(always)]
    fn transport_length(&self) -> [u8; 2] {
        (self.headers.payload() as u16).to_be_bytes()
    }
}

#[cfg(test)]
mod tests;

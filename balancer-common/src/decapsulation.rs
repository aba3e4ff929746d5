//! Taking packets out of tunnels: what [`encapsulation`](crate::encapsulation) puts in, in every combination of families.
//!
//! Outer IPv4 headers with options, IPv6 headers with extensions and what is in neither kind of tunnel are not looked at:
//! that is the host's business.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::{Address, Mac, protocol},
    checksum::{Sum, Update},
    counted::counted,
    ecn,
    encapsulation::{Encapsulation, GUE_PORT, Gue},
    packet::{EtherType, Ethernet, Family, Packet, Tags, link},
};

counted! {
    /// What becomes of a packet that came in a tunnel.
    Fate:

    /// A packet that was taken out of an IP packet and passed to the host.
    Ipip = 0, "ipip";
    /// A packet that was taken out of a datagram of Generic UDP Encapsulation and passed to the host.
    Gue = 1, "gue";
    /// A packet in a tunnel from an address that none may come from.
    SourceNotAllowed = 2, "source_not_allowed";
    /// A packet whose outer headers are cut off or contradict its length, or whose outer IPv4 header has a wrong checksum.
    MalformedOuter = 3, "malformed_outer";
    /// A fragment of an outer IPv4 packet. Whoever puts packets in has to keep to the MTU of the way.
    Fragment = 4, "fragment";
    /// A datagram for Generic UDP Encapsulation that is of another version than 0, is a control message, has extensions or
    /// carries something other than an IP packet.
    UnknownGue = 5, "unknown_gue";
    /// A packet inside whose header contradicts itself, its length, or what the outer header announces.
    MalformedInner = 6, "malformed_inner";
    /// A packet that met congestion in the tunnel and belongs to a connection that only a drop can tell of it (RFC 6040).
    Congestion = 7, "congestion";
}

/// A packet that came in a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunnelled {
    source: Address,
    tags: Tags,
    traffic_class: u8,
    encapsulation: Encapsulation,
    family: Family,
    /// Offset of the IP header inside.
    inner: usize,
    /// Offset behind the last byte that belongs to it.
    end: usize,
}

/// Looks for a packet in a tunnel. `None` if the frame carries something else.
///
/// # Errors
///
/// If it is in a tunnel and cannot be taken out.
#[inline(always)]
pub fn find<P: Packet + ?Sized>(packet: &P) -> Result<Option<Tunnelled>, Fate> {
    let Some((ether_type, network)) = link(packet) else {
        return Ok(None);
    };
    match ether_type {
        Ethernet::IPV4 => find_in_ipv4(packet, network),
        Ethernet::IPV6 => find_in_ipv6(packet, network),
        _ => Ok(None),
    }
}

#[inline(always)]
fn find_in_ipv4<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Option<Tunnelled>, Fate> {
    const VERSION_AND_LENGTH: u8 = 4 << 4 | 5;
    let Some(header) = packet.view::<Ipv4Hdr>(network) else {
        return Ok(None);
    };
    let length = u16::from_be_bytes(header.tot_len) as usize;
    let carrier = Carrier {
        source: Address::v4(header.src_addr),
        traffic_class: header.tos,
        protocol: header.proto,
        network,
        payload: network + Ipv4Hdr::LEN,
        end: network + length,
    };
    // The flags (3 bits), of which the last says that more fragments come, then the offset (13).
    let fragment = u16::from_be_bytes(header.frags);
    let is_first = fragment << 3 == 0;
    let is_fragment = fragment & 0x3fff != 0;
    if header.vihl != VERSION_AND_LENGTH || !carrier.is_tunnel(packet, is_first) {
        return Ok(None);
    }
    if length < Ipv4Hdr::LEN || !packet.has(carrier.end) || !is_intact(header) {
        return Err(Fate::MalformedOuter);
    }
    if is_fragment {
        return Err(Fate::Fragment);
    }
    carrier.content(packet).map(Some)
}

/// Whether the header has the checksum that it should. The host does not see it any more.
#[inline(always)]
fn is_intact(header: &Ipv4Hdr) -> bool {
    Sum::ZERO.add_ipv4_header(header).checksum() == [0; 2]
}

#[inline(always)]
fn find_in_ipv6<P: Packet + ?Sized>(packet: &P, network: usize) -> Result<Option<Tunnelled>, Fate> {
    let Some(header) = packet.view::<Ipv6Hdr>(network) else {
        return Ok(None);
    };
    let [first, second, ..] = header.vcf;
    let payload = network + Ipv6Hdr::LEN;
    let carrier = Carrier {
        source: Address::v6(header.src_addr),
        traffic_class: first << 4 | second >> 4,
        protocol: header.next_hdr,
        network,
        payload,
        end: payload + u16::from_be_bytes(header.payload_len) as usize,
    };
    if first >> 4 != 6 || !carrier.is_tunnel(packet, true) {
        return Ok(None);
    }
    if !packet.has(carrier.end) {
        return Err(Fate::MalformedOuter);
    }
    carrier.content(packet).map(Some)
}

/// An IP packet that may carry another one.
struct Carrier {
    source: Address,
    traffic_class: u8,
    protocol: u8,
    /// Offset of its header.
    network: usize,
    /// Offset of what is behind its header.
    payload: usize,
    /// Offset behind its last byte.
    end: usize,
}

impl Carrier {
    /// Whether it does, going by protocol and port. Fragments other than the first have no port.
    #[inline(always)]
    fn is_tunnel<P: Packet + ?Sized>(&self, packet: &P, is_first: bool) -> bool {
        match self.protocol {
            protocol::IPV4 | protocol::IPV6 => true,
            protocol::UDP if is_first => {
                let header = packet.view::<UdpHdr>(self.payload);
                header.is_some_and(|header| header.dst == GUE_PORT)
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn content<P: Packet + ?Sized>(&self, packet: &P) -> Result<Tunnelled, Fate> {
        let (encapsulation, protocol, inner, end) = if self.protocol == protocol::UDP {
            let (protocol, end) = self.open_gue(packet)?;
            let inner = self.payload + UdpHdr::LEN + Gue::LEN;
            (Encapsulation::Gue, protocol, inner, end)
        } else {
            (Encapsulation::Ipip, self.protocol, self.payload, self.end)
        };
        let family = match protocol {
            protocol::IPV4 => Family::V4,
            protocol::IPV6 => Family::V6,
            _ => return Err(Fate::UnknownGue),
        };
        Ok(Tunnelled {
            source: self.source,
            tags: Tags::read(packet, 0, self.network).ok_or(Fate::MalformedOuter)?,
            traffic_class: self.traffic_class,
            encapsulation,
            family,
            inner,
            end,
        })
    }

    /// The IP protocol number of what the datagram carries, and the offset behind its last byte.
    ///
    /// The checksum of the datagram, if it has one, is not looked at: that would take reading it all, and what it protects
    /// is under the checksums of the packet inside, but for headers that have done their work.
    #[inline(always)]
    fn open_gue<P: Packet + ?Sized>(&self, packet: &P) -> Result<(u8, usize), Fate> {
        let header = packet.view::<UdpHdr>(self.payload).ok_or(Fate::MalformedOuter)?;
        let length = u16::from_be_bytes(header.len) as usize;
        let end = self.payload + length;
        if length < UdpHdr::LEN + Gue::LEN || end > self.end {
            return Err(Fate::MalformedOuter);
        }
        let gue = packet
            .view::<Gue>(self.payload + UdpHdr::LEN)
            .ok_or(Fate::MalformedOuter)?;
        if gue.version_and_length != 0 || gue.flags != [0; 2] {
            return Err(Fate::UnknownGue);
        }
        Ok((gue.protocol, end))
    }
}

impl Tunnelled {
    /// Where it was put into the tunnel.
    #[inline(always)]
    pub const fn source(&self) -> Address {
        self.source
    }

    /// Looks at the packet inside, and hands on to it what the outer header says of congestion.
    ///
    /// # Errors
    ///
    /// If it is not a packet, or has to be dropped to signal congestion. It is then as it was.
    #[inline(always)]
    pub fn open<P: Packet + ?Sized>(&self, packet: &mut P) -> Result<Opened, Fate> {
        match self.family {
            Family::V4 => self.open_ipv4(packet)?,
            Family::V6 => self.open_ipv6(packet)?,
        }
        let ether_type = match self.family {
            Family::V4 => Ethernet::IPV4,
            Family::V6 => Ethernet::IPV6,
        };
        Ok(Opened {
            macs: *packet.view::<Macs>(0).ok_or(Fate::MalformedOuter)?,
            tags: self.tags,
            ether_type,
            excess: (self.inner - self.tags.end()) as u32,
            fate: match self.encapsulation {
                Encapsulation::Ipip => Fate::Ipip,
                Encapsulation::Gue => Fate::Gue,
            },
        })
    }

    #[inline(always)]
    fn open_ipv4<P: Packet + ?Sized>(&self, packet: &mut P) -> Result<(), Fate> {
        let header = packet.view_mut::<Ipv4Hdr>(self.inner).ok_or(Fate::MalformedInner)?;
        let header_len = (header.vihl & 0x0f) as usize * 4;
        let length = u16::from_be_bytes(header.tot_len) as usize;
        if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || length < header_len || self.inner + length > self.end {
            return Err(Fate::MalformedInner);
        }
        let ecn = ecn::out_of_tunnel(header.tos, self.traffic_class).ok_or(Fate::Congestion)?;
        let old = [header.vihl, header.tos];
        let new = [header.vihl, header.tos & !ecn::MASK | ecn];
        header.check = Update::NONE.word(old, new).apply(header.check);
        header.tos = new[1];
        Ok(())
    }

    #[inline(always)]
    fn open_ipv6<P: Packet + ?Sized>(&self, packet: &mut P) -> Result<(), Fate> {
        let header = packet.view_mut::<Ipv6Hdr>(self.inner).ok_or(Fate::MalformedInner)?;
        let length = Ipv6Hdr::LEN + u16::from_be_bytes(header.payload_len) as usize;
        if header.vcf[0] >> 4 != 6 || self.inner + length > self.end {
            return Err(Fate::MalformedInner);
        }
        let ecn = ecn::out_of_tunnel(header.vcf[1] >> 4, self.traffic_class).ok_or(Fate::Congestion)?;
        header.vcf[1] = header.vcf[1] & !(ecn::MASK << 4) | ecn << 4;
        Ok(())
    }
}

/// The two MACs in front of a frame.
type Macs = [u8; 2 * size_of::<Mac>()];

/// A packet that is ready to be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    macs: Macs,
    tags: Tags,
    ether_type: EtherType,
    excess: u32,
    fate: Fate,
}

impl Opened {
    /// Bytes to be taken off the front of the frame, after which it has to be [addressed](Self::address) anew.
    #[inline(always)]
    pub const fn excess(&self) -> u32 {
        self.excess
    }

    /// Puts in front of the packet what stood in front of the outer one.
    #[inline(always)]
    pub fn address<P: Packet + ?Sized>(&self, packet: &mut P) -> Option<Fate> {
        *packet.view_mut::<Macs>(0)? = self.macs;
        self.tags.write(packet, self.ether_type)?;
        Some(self.fate)
    }
}

#[cfg(test)]
mod tests;

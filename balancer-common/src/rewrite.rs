//! Changes to a packet's headers, made in place with incremental checksums.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::abi::NextHop;
use crate::{
    abi::{Address, Port, protocol},
    checksum::{self, Update},
    packet::{Ethernet, Family, Headers, Packet, Piece, Tcp},
};

/// Which end of a packet is translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// Replaces address and port of one end, which stays in its family, the port where the packet shows it, and counts the packet's TTL or hop limit down by
/// one as a router does (RFC 1812, 5.3.1; RFC 8200, 3). The caller has seen to it that the TTL is above one. A checksum
/// that was wrong stays wrong, so that the receiver refuses the packet.
///
/// `None` means that the packet no longer holds the headers that were parsed; nothing has then been sent, and the
/// packet must not be.
#[inline(always)]
pub fn translate<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    address: Address,
    port: Port,
) -> Option<()> {
    let (old_address, old_port) = match end {
        End::Source => (headers.source, headers.ports.source),
        End::Destination => (headers.destination, headers.ports.destination),
    };
    let addresses = Update::NONE.address_within(headers.family, old_address, address);

    match headers.family {
        Family::V4 => {
            let header = packet.view_mut::<Ipv4Hdr>(headers.network as usize)?;
            header.check = addresses.one_hop_less().apply(header.check);
            header.ttl = header.ttl.wrapping_sub(1);
            match end {
                End::Source => header.src_addr = address.v4_octets(),
                End::Destination => header.dst_addr = address.v4_octets(),
            }
        }
        Family::V6 => {
            let header = packet.view_mut::<Ipv6Hdr>(headers.network as usize)?;
            header.hop_limit = header.hop_limit.wrapping_sub(1);
            match end {
                End::Source => header.src_addr = address.octets(),
                End::Destination => header.dst_addr = address.octets(),
            }
        }
    }

    if headers.fragment.piece == Piece::Later {
        return Some(());
    }
    let pseudo_header_and_port = addresses.word(old_port, port);
    if headers.protocol == protocol::TCP {
        let header = packet.view_mut::<Tcp>(headers.transport as usize)?;
        header.checksum = pseudo_header_and_port.apply(header.checksum);
        match end {
            End::Source => header.source = port,
            End::Destination => header.destination = port,
        }
    } else {
        let header = packet.view_mut::<UdpHdr>(headers.transport as usize)?;
        header.check = pseudo_header_and_port.apply_udp(header.check);
        match end {
            End::Source => header.src = port,
            End::Destination => header.dst = port,
        }
    }
    Some(())
}

/// Counts the TTL or hop limit down by one as a router does, and changes nothing else. The caller has seen to it that it
/// is above one.
///
/// `None` means what it means for [`translate`].
#[inline(always)]
pub fn count_down<P: Packet + ?Sized>(packet: &mut P, headers: &Headers) -> Option<()> {
    match headers.family {
        Family::V4 => {
            let header = packet.view_mut::<Ipv4Hdr>(headers.network as usize)?;
            header.ttl = header.ttl.wrapping_sub(1);
            header.check = checksum::of_one_less_hop(header.check);
        }
        Family::V6 => {
            let header = packet.view_mut::<Ipv6Hdr>(headers.network as usize)?;
            header.hop_limit = header.hop_limit.wrapping_sub(1);
        }
    }
    Some(())
}

/// TTL or hop limit of packets that begin here (RFC 1700).
pub(crate) const TTL: u8 = 64;

/// Has the IP packet go back to its sender, with as many hops before it as a new one and `length` bytes of it, its header
/// included.
#[inline(always)]
pub(crate) fn turn_round<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, length: u16) -> Option<()> {
    let length = length.to_be_bytes();
    match headers.family {
        Family::V4 => {
            let header = packet.view_mut::<Ipv4Hdr>(headers.network as usize)?;
            // The sum does not depend on which address is the source and which the destination.
            header.check = Update::NONE
                .word([header.ttl, header.proto], [TTL, header.proto])
                .word(header.tot_len, length)
                .apply(header.check);
            header.ttl = TTL;
            header.tot_len = length;
            header.src_addr = headers.destination.v4_octets();
            header.dst_addr = headers.source.v4_octets();
        }
        Family::V6 => {
            let header = packet.view_mut::<Ipv6Hdr>(headers.network as usize)?;
            header.hop_limit = TTL;
            header.payload_len = u16::from_be_bytes(length)
                .wrapping_sub(Ipv6Hdr::LEN as u16)
                .to_be_bytes();
            header.src_addr = headers.destination.octets();
            header.dst_addr = headers.source.octets();
        }
    }
    Some(())
}

/// Addresses the frame to where it came from.
#[inline(always)]
pub fn return_frame<P: Packet + ?Sized>(packet: &mut P) -> Option<()> {
    let header = packet.view_mut::<Ethernet>(0)?;
    (header.destination, header.source) = (header.source, header.destination);
    Some(())
}

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn address_frame<P: Packet + ?Sized>(packet: &mut P, next_hop: &NextHop) -> Option<()> {
    packet.view::<Ethernet>(0)?;
    *packet.view_mut(0)? = next_hop.addresses();
    Some(())
}

#[cfg(test)]
mod tests;

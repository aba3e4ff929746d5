//! The packet that an error is about.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::CHECKSUM;
use crate::{
    abi::protocol,
    checksum::Update,
    packet::{Family, Headers, Packet, Ports},
    translate::Ends,
};

/// Replaces both ends of the packet that an error quotes, within its IP version: its sender is to recognise what it has sent.
/// `error` are the headers of the error and `quoted` those of the packet; TTLs stay. All checksums that are there are
/// updated, and stay wrong if they were wrong.
///
/// `None` means that the packet no longer holds the headers that were parsed.
#[inline(always)]
pub fn translate_quoted<P: Packet + ?Sized>(
    packet: &mut P,
    error: &Headers,
    quoted: &Headers,
    ends: &Ends,
) -> Option<()> {
    let addresses = Update::NONE
        .address(quoted.source, ends.source)
        .address(quoted.destination, ends.destination);
    // What the message's own checksum covers: addresses and ports, and the checksums that change with them.
    let mut changes = addresses;

    match quoted.family {
        Family::V4 => {
            let header = packet.view_mut::<Ipv4Hdr>(quoted.network as usize)?;
            let old = header.check;
            header.check = addresses.apply(old);
            changes = changes.word(old, header.check);
            header.src_addr = ends.source.v4_octets();
            header.dst_addr = ends.destination.v4_octets();
        }
        Family::V6 => {
            let header = packet.view_mut::<Ipv6Hdr>(quoted.network as usize)?;
            header.src_addr = ends.source.octets();
            header.dst_addr = ends.destination.octets();
        }
    }

    let end = quoted.network as usize + quoted.length as usize;
    let changes = changes.and(replace_transport(packet, quoted, ends, quoted.transport as usize, end)?);
    let field = packet.view_mut::<[u8; 2]>(error.transport as usize + CHECKSUM)?;
    *field = changes.apply(*field);
    Some(())
}

/// Replaces the ports of a quoted packet whose transport header is at `transport`, and updates its checksum if that stands before
/// `end`, where the quotation ends. Returns how that changes the sum of the quotation.
#[inline(always)]
pub(super) fn replace_transport<P: Packet + ?Sized>(
    packet: &mut P,
    quoted: &Headers,
    ends: &Ends,
    transport: usize,
    end: usize,
) -> Option<Update> {
    let ports = Update::NONE
        .word(quoted.ports.source, ends.ports.source)
        .word(quoted.ports.destination, ends.ports.destination);
    let pseudo_header_and_ports = ports
        .address(quoted.source, ends.source)
        .address(quoted.destination, ends.destination);
    *packet.view_mut::<Ports>(transport)? = ends.ports;

    let is_tcp = quoted.protocol == protocol::TCP;
    let checksum = transport + if is_tcp { 16 } else { 6 };
    if checksum + size_of::<[u8; 2]>() > end {
        return Some(ports);
    }
    let field = packet.view_mut::<[u8; 2]>(checksum)?;
    let old = *field;
    *field = if is_tcp {
        pseudo_header_and_ports.apply(old)
    } else {
        pseudo_header_and_ports.apply_udp(old)
    };
    Some(ports.word(old, *field))
}

#[cfg(test)]
mod tests;

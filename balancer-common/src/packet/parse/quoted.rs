//! Packets that ICMP errors quote.

use super::{Family, Headers, Packet, Ports, ipv4, ipv6};
use crate::icmp;

/// Parses the beginning of the packet that the error with these headers quotes. Its length is that of the quotation, which
/// ends somewhere behind the ports; its offsets are those in the whole frame.
///
/// `None` unless it shows the ports of a TCP or UDP packet.
#[inline(always)]
pub fn parse_quoted<P: Packet + ?Sized>(packet: &P, error: &Headers) -> Option<Headers> {
    let mut headers = parse_quoted_network(packet, error)?;
    parse_quoted_ports(packet, &mut headers)?;
    Some(headers)
}

/// The first part of [`parse_quoted`]: all but the ports.
#[inline(always)]
pub fn parse_quoted_network<P: Packet + ?Sized>(packet: &P, error: &Headers) -> Option<Headers> {
    let network = error.transport as usize + icmp::HEADER_LEN;
    let length = error.payload().checked_sub(icmp::HEADER_LEN)?;
    match error.family {
        Family::V4 => ipv4::parse_quoted(packet, network, length),
        Family::V6 => ipv6::parse_quoted(packet, network, length),
    }
}

/// The second part of [`parse_quoted`].
#[inline(always)]
pub fn parse_quoted_ports<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Option<()> {
    // Sequence number, or length and checksum, belong to what is quoted of every packet (RFC 792).
    if !headers.has_ports() || headers.payload() < icmp::QUOTED_TRANSPORT_LEN {
        return None;
    }
    headers.ports = *packet.view::<Ports>(headers.transport as usize)?;
    Some(())
}

//! The packet travels to the backend behind an IP header of its own (RFC 2003, RFC 2473, RFC 4213): the least that a
//! tunnel costs. Over IPv4 all packets for one backend look alike to what balances load on the way.

use balancer_common::{DropReason, abi::Backend, encapsulation::Encapsulation, packet::Headers};

use super::tunnel;
use crate::packet::XdpPacket;

#[inline(always)]
pub(super) fn prepare(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<(), DropReason> {
    tunnel::prepare(packet, headers, backend, Encapsulation::Ipip)
}

/// [`prepare`] for a plain packet.
#[inline(always)]
pub(super) fn prepare_plain(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
) -> Result<(), DropReason> {
    tunnel::prepare_plain(packet, headers, backend, Encapsulation::Ipip)
}

//! The packet travels to the backend in a UDP datagram (Generic UDP Encapsulation), whose source port lets what balances
//! load on the way, and the queues of the backend, tell flows apart.

use balancer_common::{DropReason, abi::Backend, encapsulation::Encapsulation, packet::Headers};

use super::tunnel;
use crate::packet::XdpPacket;

#[inline(always)]
pub(super) fn prepare(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<(), DropReason> {
    tunnel::prepare(packet, headers, backend, Encapsulation::Gue)
}

/// [`prepare`] for a plain packet.
#[inline(always)]
pub(super) fn prepare_plain(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
) -> Result<(), DropReason> {
    tunnel::prepare_plain(packet, headers, backend, Encapsulation::Gue)
}

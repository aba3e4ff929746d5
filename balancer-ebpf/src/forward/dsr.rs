//! Only the frame is addressed anew: the backend has the VIP on an interface of its own and answers the client directly.
//!
//! The TTL is counted down all the same. A backend that lost the VIP and forwards would send the packet back here, and
//! nothing else would ever end that circle.

use balancer_common::{
    DropReason,
    abi::Backend,
    packet::Headers,
    rewrite::{address_frame, count_down},
};

use crate::{packet::XdpPacket, size};

#[inline(always)]
pub(super) fn prepare(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<(), DropReason> {
    size::check(headers, headers.length, u32::from(backend.mtu))?;
    count_down(packet, headers).ok_or(DropReason::Malformed)?;
    address_frame(packet, &backend.next_hop).ok_or(DropReason::Malformed)
}

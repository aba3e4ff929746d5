//! How a packet gets to its backend: one file per way.

mod nat;

use balancer_common::{
    DropReason,
    abi::{Backend, FlowKey, Forwarding, Service},
    packet::Headers,
};

use crate::packet::XdpPacket;

/// Makes a packet of the flow `key` ready to leave for `backend`, in the way that `service` asks for. The caller has seen
/// to it that the backend's next hop is known and that the TTL is above one.
#[inline(always)]
pub(crate) fn prepare(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    service: &Service,
    backend: &Backend,
) -> Result<(), DropReason> {
    match service.forwarding() {
        Forwarding::Nat => nat::prepare(packet, headers, key, backend),
        // The configuration refuses what is not there.
        Forwarding::FullNat | Forwarding::Dsr | Forwarding::Ipip | Forwarding::Gue => Err(DropReason::Internal),
    }
}

//! How a packet gets to its backend: one file per way.

mod dsr;
mod gue;
mod ipip;
mod nat;
mod tunnel;

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
        Forwarding::Dsr => dsr::prepare(packet, headers, backend),
        Forwarding::Ipip => ipip::prepare(packet, headers, backend),
        Forwarding::Gue => gue::prepare(packet, headers, backend),
        // The configuration refuses what is not there.
        Forwarding::FullNat => Err(DropReason::Internal),
    }
}

// Ways with more to them than a rewrite in place are functions with external linkage, which the verifier checks once. They
// take and return what such functions can: pointers to records, and a number.

/// What such a function returns when the packet is ready. Reasons for a drop follow it.
const READY: u32 = 0;

/// Calls the inner part of such a function, and turns what comes of it into what the function returns.
#[inline(always)]
fn answer(
    headers: *const Headers,
    backend: *const Backend,
    prepare: impl FnOnce(&Headers, &Backend) -> Result<(), DropReason>,
) -> u32 {
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let headers = unsafe { headers.as_ref() };
    // SAFETY: as above.
    let backend = unsafe { backend.as_ref() };
    let prepared = match (headers, backend) {
        (Some(headers), Some(backend)) => prepare(headers, backend),
        _ => Err(DropReason::Internal),
    };
    match prepared {
        Ok(()) => READY,
        Err(reason) => reason as u32 + 1,
    }
}

/// What the number that such a function returned stands for.
#[inline(always)]
fn outcome(number: u32) -> Result<(), DropReason> {
    match number.checked_sub(1) {
        None => Ok(()),
        Some(reason) => Err(DropReason::from_number(reason).unwrap_or(DropReason::Internal)),
    }
}

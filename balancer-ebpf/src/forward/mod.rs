//! How a packet gets to its backend: one file per way.

mod dsr;
mod gue;
mod ipip;
mod nat;
mod tunnel;

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
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
    match prepare_to_forward(packet.context(), headers, key, service, backend).checked_sub(1) {
        None => Ok(()),
        Some(reason) => Err(DropReason::from_number(reason).unwrap_or(DropReason::Internal)),
    }
}

/// A function with external linkage: however many ways there are through it, to the verifier its callers see one. Returns
/// zero for a packet that is ready, else the reason for the drop, counted from one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prepare_to_forward(
    context: *mut xdp_md,
    headers: *const Headers,
    key: *const FlowKey,
    service: *const Service,
    backend: *const Backend,
) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let headers = unsafe { headers.as_ref() };
    // SAFETY: as above.
    let key = unsafe { key.as_ref() };
    // SAFETY: as above.
    let service = unsafe { service.as_ref() };
    // SAFETY: as above.
    let backend = unsafe { backend.as_ref() };
    let prepared = match (headers, key, service, backend) {
        (Some(headers), Some(key), Some(service), Some(backend)) => {
            let packet = &mut XdpPacket::new(&context);
            match service.forwarding() {
                Forwarding::Nat => nat::prepare(packet, headers, key, backend),
                Forwarding::Dsr => dsr::prepare(packet, headers, backend),
                Forwarding::Ipip => ipip::prepare(packet, headers, backend),
                Forwarding::Gue => gue::prepare(packet, headers, backend),
                // The configuration refuses what is not there.
                Forwarding::FullNat => Err(DropReason::Internal),
            }
        }
        _ => Err(DropReason::Internal),
    };
    match prepared {
        Ok(()) => 0,
        Err(reason) => reason as u32 + 1,
    }
}

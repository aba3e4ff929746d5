//! How a packet gets to its backend: one file per way, and one for both tunnels.

mod dsr;
pub(crate) mod full_nat;
mod nat;
mod tunnel;

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason,
    abi::{Backend, BackendFlags, FlowKey, Forwarding, Service},
    encapsulation::Encapsulation,
    packet::Headers,
};

use crate::{maps, outcome, packet::XdpPacket};

/// Makes a packet of the flow `key` ready to leave for `backend`, which has the index `index`, in the way that `service`
/// asks for. The caller has seen to it that the backend's next hop is known and that the TTL is above one.
#[inline(always)]
pub(crate) fn prepare(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    service: &Service,
    index: u32,
    backend: &Backend,
) -> Result<(), DropReason> {
    if service.forwarding() == Forwarding::FullNat {
        return full_nat::prepare(packet, headers, key, index, backend);
    }
    prepare_alone(packet, headers, key, index)
}

/// [`prepare`] in a way that takes no mapping, which is any but full NAT.
#[inline(always)]
pub(crate) fn prepare_alone(
    packet: &XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    index: u32,
) -> Result<(), DropReason> {
    outcome::result(prepare_to_forward(packet.context(), headers, key, index))
}

/// A function with external linkage: however many ways there are through it, to the verifier its callers see one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prepare_to_forward(
    context: *mut xdp_md,
    headers: *const Headers,
    key: *const FlowKey,
    index: u32,
) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let (Some(headers), Some(key)) = (unsafe { headers.as_ref() }, unsafe { key.as_ref() }) else {
        return outcome::number(Err(DropReason::Internal));
    };
    let (service, backend) = (maps::service(key.service), maps::backend(index));
    outcome::number(prepare_any(
        &mut XdpPacket::new(&context),
        headers,
        key,
        service,
        (index, backend),
    ))
}

#[inline(always)]
fn prepare_any(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    service: &Service,
    (index, backend): (u32, &Backend),
) -> Result<(), DropReason> {
    match service.forwarding() {
        Forwarding::Nat => nat::prepare(packet, headers, key, index, backend),
        Forwarding::Dsr => dsr::prepare(packet, headers, backend),
        Forwarding::Ipip => tunnel::prepare(packet, headers, backend, Encapsulation::Ipip),
        Forwarding::Gue => tunnel::prepare(packet, headers, backend, Encapsulation::Gue),
        // It has functions of its own.
        Forwarding::FullNat => Err(DropReason::Internal),
    }
}

/// [`prepare_alone`] for a plain packet, without a call, if that needs nothing but the packet.
#[inline(always)]
pub(crate) fn prepare_plain(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    service: &Service,
    backend: &Backend,
) -> Option<Result<(), DropReason>> {
    match service.forwarding() {
        // The way back is to be noted.
        Forwarding::Nat if backend.flags.contains(BackendFlags::SHARED_ENDPOINT) => None,
        Forwarding::Nat => Some(nat::translate(packet, headers, backend).map(|_port| ())),
        Forwarding::Dsr => Some(dsr::prepare(packet, headers, backend)),
        Forwarding::Ipip => Some(tunnel::prepare_plain(packet, headers, backend, Encapsulation::Ipip)),
        Forwarding::Gue => Some(tunnel::prepare_plain(packet, headers, backend, Encapsulation::Gue)),
        Forwarding::FullNat => None,
    }
}

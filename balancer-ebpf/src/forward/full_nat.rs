//! Both ends are replaced: the backend sees an address and port of the balancer, and answers there.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason,
    abi::{Backend, FlowKey},
    packet::Headers,
    rewrite, translate,
};

use crate::{maps, outcome, packet::XdpPacket, size, source};

#[inline(always)]
pub(super) fn prepare(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    index: u32,
    backend: &Backend,
) -> Result<(), DropReason> {
    source::acquire(headers, key, index, backend)?;
    let ends = &maps::passage().ok_or(DropReason::Internal)?.ends;
    let length = translate::length(headers, ends.family());
    size::check(headers, length, u32::from(backend.mtu))?;
    replace_ends(packet, headers)?;
    rewrite::address_frame(packet, &backend.next_hop).ok_or(DropReason::Malformed)
}

/// Gives a packet the ends that its [`Passage`](maps::Passage) says.
#[inline(always)]
pub(crate) fn replace_ends(packet: &mut XdpPacket<'_>, headers: &Headers) -> Result<(), DropReason> {
    let outcome = outcome::result(translate_ends(packet.context(), &raw const *headers));
    packet.refresh();
    outcome
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn translate_ends(context: *mut xdp_md, headers: *const Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let headers = unsafe { headers.as_ref() };
    let translated = match (headers, maps::passage()) {
        (Some(headers), Some(passage)) => translate::translate(&mut XdpPacket::new(&context), headers, &passage.ends),
        _ => Err(DropReason::Internal),
    };
    outcome::number(translated)
}

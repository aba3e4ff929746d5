//! The largest segments that the ends of a TCP connection want to get.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{DropReason, abi::Service, mss, packet::Headers};

use crate::packet::XdpPacket;

/// Whether the packet may say that its sender wants larger segments than the service allows.
#[inline(always)]
pub(crate) const fn is_to_be_clamped(headers: &Headers, service: &Service) -> bool {
    service.mss != u16::MAX && mss::is_told(headers)
}

/// Has the packet's sender want no larger segments than the service allows.
#[inline(always)]
pub(crate) fn clamp(packet: &XdpPacket<'_>, headers: &Headers, service: &Service) -> Result<(), DropReason> {
    if is_to_be_clamped(headers, service) && !clamp_mss(packet.context(), headers, service.mss.into()) {
        return Err(DropReason::Malformed);
    }
    Ok(())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn clamp_mss(context: *mut xdp_md, headers: *const Headers, most: u32) -> bool {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return false;
    };
    mss::clamp(&mut XdpPacket::new(&context), headers, most as u16).is_some()
}

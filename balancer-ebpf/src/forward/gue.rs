//! The packet travels to the backend in a UDP datagram (Generic UDP Encapsulation), whose source port lets what balances
//! load on the way, and the queues of the backend, tell flows apart.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{DropReason, abi::Backend, encapsulation::Encapsulation, packet::Headers};

use super::{answer, outcome, tunnel};
use crate::packet::XdpPacket;

#[inline(always)]
pub(super) fn prepare(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<(), DropReason> {
    outcome(wrap_in_gue(packet.context(), headers, backend))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn wrap_in_gue(context: *mut xdp_md, headers: *const Headers, backend: *const Backend) -> u32 {
    let context = XdpContext::new(context);
    answer(headers, backend, |headers, backend| {
        tunnel::prepare(&mut XdpPacket::new(&context), headers, backend, Encapsulation::Gue)
    })
}

//! The packet travels to the backend behind an IP header of its own (RFC 2003, RFC 2473, RFC 4213): the least that a
//! tunnel costs. Over IPv4 all packets for one backend look alike to what balances load on the way.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{DropReason, abi::Backend, encapsulation::Encapsulation, packet::Headers};

use super::{answer, outcome, tunnel};
use crate::packet::XdpPacket;

#[inline(always)]
pub(super) fn prepare(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<(), DropReason> {
    outcome(wrap_in_ipip(packet.context(), headers, backend))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn wrap_in_ipip(context: *mut xdp_md, headers: *const Headers, backend: *const Backend) -> u32 {
    let context = XdpContext::new(context);
    answer(headers, backend, |headers, backend| {
        tunnel::prepare(&mut XdpPacket::new(&context), headers, backend, Encapsulation::Ipip)
    })
}

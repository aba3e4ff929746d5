//! Telling what is decided about packets while somebody follows.
//!
//! The program is loaded once more for that, with [`is_on`] true; else the verifier removes all of this.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use balancer_common::{
    DropReason,
    abi::{CAPTURED, Decision, Reason},
    packet::{Ethernet, Headers},
    token_bucket::Rate,
};

use crate::maps;

/// Whether this is the program that tells.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    maps::is_traced()
}

/// Begins with a packet.
#[inline(always)]
pub(crate) fn begin(context: &XdpContext) {
    if is_on() {
        trace_begin(context.ctx);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn trace_begin(context: *mut xdp_md) -> u32 {
    let context = XdpContext::new(context);
    let (Some(capture), Some(filter)) = (maps::capture(), maps::trace_filter()) else {
        return 0;
    };
    let received = length(&context);
    capture.decision = Decision {
        // SAFETY: the helper takes nothing.
        time: unsafe { bpf_ktime_get_ns() },
        interface: context.ingress_ifindex() as u32,
        received,
        ..Decision::NONE
    };
    if filter.capture != 0 {
        copy(&context, &mut capture.received);
    }
    0
}

/// Notes what the packet is.
#[inline(always)]
pub(crate) fn note_headers(headers: &Headers) {
    if is_on()
        && let Some(capture) = maps::capture()
    {
        let decision = &mut capture.decision;
        decision.source = headers.source;
        decision.destination = headers.destination;
        decision.source_port = headers.ports.source;
        decision.destination_port = headers.ports.destination;
        decision.protocol = headers.protocol;
        decision.tcp_flags = headers.tcp_flags;
    }
}

/// Notes the service that the packet is for.
#[inline(always)]
pub(crate) fn note_service(service: u32) {
    if is_on()
        && let Some(capture) = maps::capture()
    {
        capture.decision.service = service;
    }
}

/// Notes the backend that the packet goes to, and why.
#[inline(always)]
pub(crate) fn note_backend(backend: u32, reason: Reason) {
    if is_on()
        && let Some(capture) = maps::capture()
    {
        capture.decision.backend = backend;
        capture.decision.reason = reason as u32;
    }
}

/// Notes whose reply the packet is.
#[inline(always)]
pub(crate) fn note_reply(service: u32, backend: u32) {
    if is_on()
        && let Some(capture) = maps::capture()
    {
        capture.decision.service = service;
        capture.decision.backend = backend;
        capture.decision.is_reply = 1;
    }
}

/// Notes why the packet is dropped.
#[inline(always)]
pub(crate) fn note_drop(reason: DropReason) {
    if is_on()
        && let Some(capture) = maps::capture()
    {
        capture.decision.drop = reason as u32 + 1;
    }
}

/// Tells what was decided, if it is about a service and was asked for.
#[inline(always)]
pub(crate) fn end(context: &XdpContext, action: u32) {
    if is_on() {
        trace_end(context.ctx, action);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn trace_end(context: *mut xdp_md, action: u32) -> u32 {
    let context = XdpContext::new(context);
    let (Some(capture), Some(filter), Some(budget)) = (maps::capture(), maps::trace_filter(), maps::trace_budget())
    else {
        return 0;
    };
    let decision = &mut capture.decision;
    let is_ours = action != xdp_action::XDP_PASS || decision.service != 0 || decision.drop != 0;
    if !is_ours || !filter.admits(decision) {
        return 0;
    }
    let rate = Rate::per_second(u64::from(filter.rate.max(1)), u64::from(filter.rate.max(1)));
    if !budget.tokens.take(rate, decision.time) {
        budget.missed += 1;
        return 0;
    }
    decision.action = action as u8;
    decision.missed = budget.missed;
    if action != xdp_action::XDP_DROP {
        decision.sent = length(&context);
    }
    let told = if filter.capture == 0 {
        maps::tell_decision(decision)
    } else {
        if decision.sent != 0 {
            copy(&context, &mut capture.sent);
        }
        maps::tell_capture(capture)
    };
    budget.missed = if told { 0 } else { budget.missed + 1 };
    0
}

/// Bytes of the frame.
#[inline(always)]
fn length(context: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called the program with.
    unsafe { bpf_xdp_get_buff_len(context.ctx) as u32 }
}

/// Copies the first bytes of the frame, as many as there is room for.
#[inline(always)]
fn copy(context: &XdpContext, room: &mut [u8; CAPTURED]) {
    // SAFETY: the context is the one that the kernel called the program with.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    // No frame is shorter than its first header, and the verifier wants to see that something is copied.
    let length = length.clamp(Ethernet::LEN as u64, CAPTURED as u64) as u32;
    // SAFETY: the context is the one that the kernel called the program with, and there is room for so many bytes.
    let _complete: i64 = unsafe { bpf_xdp_load_bytes(context.ctx, 0, room.as_mut_ptr().cast(), length) };
}

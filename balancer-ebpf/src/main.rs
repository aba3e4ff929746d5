//! The XDP programs.
//!
//! `balancer` is attached to the interfaces. A packet's path through it reads from top to bottom in [`balance`]: parse,
//! find the service, select the backend, translate, send; a reply the other way round. `explain` takes the same steps
//! for a packet that the daemon makes up, and reports instead of acting.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "helpers speak C's int and long where the values are of 32 bits"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the entry points' signature is that of the macro"
)]

mod at_once;
mod forward;
mod inbound;
mod maps;
mod outcome;
mod reply;
mod route;
mod select;
mod service;
mod source;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use balancer_common::{
    DropReason,
    abi::{EndpointKey, Explanation, Reason},
    packet::{Headers, Packet as _, Unparsed, parse, parse_plain},
};
use balancer_ebpf::packet;

use crate::{
    packet::XdpPacket,
    select::{Purpose, Selection},
};

/// The object is licensed as the rest of the project; the kernel needs a GPL-compatible word for it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// What becomes of a packet that is not dropped.
#[derive(Clone, Copy)]
enum Verdict {
    /// It is not the balancer's: the kernel gets it as it came.
    Pass,
    /// It leaves by the interface with this index.
    Send { interface: u32 },
}

/// Balances the packets of the interface that it is attached to: itself those that are like nearly all, and the others
/// by way of [`any_packet`].
#[xdp(frags)]
fn balancer(context: XdpContext) -> u32 {
    if let Some(action) = at_once(&context) {
        return action;
    }
    maps::call_for_any_packet(&context);
    // Unreachable: the loader sees to it that there is a program to call.
    xdp_action::XDP_ABORTED
}

/// The short way. A packet for which it returns `None` is as it was.
#[inline(always)]
fn at_once(context: &XdpContext) -> Option<u32> {
    let packet = &mut XdpPacket::new(context);
    let headers = parse_plain(packet)?;
    let decision = if let Some(service) = service::of_destination(&headers) {
        at_once::forward(packet, &headers, service)?
    } else if let Some(backend) = service::backend_of_source(&headers) {
        if service::may_be_mapped(backend) {
            return None;
        }
        reply::forward_at_once(packet, &headers, backend)?
    } else {
        Ok(Verdict::Pass)
    };
    Some(act(context, decision))
}

/// Balances any packet. A program of its own, which `balancer` tail-calls: calls within a program cost more than the
/// packets that need none of them should pay, and the stack has no room for both.
#[xdp(frags)]
fn any_packet(context: XdpContext) -> u32 {
    let mut headers = Headers::EMPTY;
    if let Err(unparsed) = parse_into(&context, &mut headers) {
        return act(&context, refuse_for_services(unparsed));
    }
    if let Some(service) = service::of_destination(&headers) {
        to_backend(context.ctx, &raw const headers, service)
    } else if let Some(backend) = service::backend_of_source(&headers) {
        if service::may_be_mapped(backend) {
            to_client_of_mapping(context.ctx, &raw const headers, backend)
        } else {
            to_client(context.ctx, &raw const headers, backend)
        }
    } else {
        xdp_action::XDP_PASS
    }
}

// The parser, the selection and the two ways through are functions of their own, with external linkage: the verifier
// then checks each once for all packets there can be, instead of once for every path through those before it, and their
// frames share the stack.

/// Parses the packet. The headers are written to where the caller has them, since the stack has no room for copies.
#[inline(always)]
fn parse_into(context: &XdpContext, headers: &mut Headers) -> Result<(), Unparsed> {
    match parse_packet(context.ctx, &raw mut *headers) {
        PARSED => Ok(()),
        MALFORMED => Err(Unparsed::Malformed(headers.destination)),
        FRAGMENT => Err(Unparsed::Fragment(headers.destination)),
        _ => Err(Unparsed::Foreign),
    }
}

const PARSED: u32 = 0;
const FOREIGN: u32 = 1;
const MALFORMED: u32 = 2;
const FRAGMENT: u32 = 3;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_packet(context: *mut xdp_md, headers: *mut Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `to_backend`.
    let Some(headers) = (unsafe { headers.as_mut() }) else {
        return FOREIGN;
    };
    let (code, destination) = match parse(&XdpPacket::new(&context)) {
        Ok(parsed) => {
            *headers = parsed;
            return PARSED;
        }
        Err(Unparsed::Malformed(destination)) => (MALFORMED, destination),
        Err(Unparsed::Fragment(destination)) => (FRAGMENT, destination),
        Err(Unparsed::Foreign) => return FOREIGN,
    };
    headers.destination = destination;
    code
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn to_backend(context: *mut xdp_md, headers: *const Headers, service: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    act(
        &context,
        inbound::forward(&mut XdpPacket::new(&context), headers, service),
    )
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn to_client(context: *mut xdp_md, headers: *const Headers, backend: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `to_backend`.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    act(
        &context,
        reply::forward(&mut XdpPacket::new(&context), headers, backend),
    )
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn to_client_of_mapping(context: *mut xdp_md, headers: *const Headers, backend: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `to_backend`.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    match reply::full_nat::forward(&mut XdpPacket::new(&context), headers) {
        Some(decision) => act(&context, decision),
        None => to_client(context.ctx, &raw const *headers, backend),
    }
}

/// The XDP action for what was decided. Every drop is counted here and nowhere else.
#[inline(always)]
fn act(context: &XdpContext, decision: Result<Verdict, DropReason>) -> u32 {
    match decision {
        Ok(Verdict::Pass) => xdp_action::XDP_PASS,
        Ok(Verdict::Send { interface }) if interface == context.ingress_ifindex() as u32 => xdp_action::XDP_TX,
        // SAFETY: the helper only notes the interface for the driver to use after the program.
        Ok(Verdict::Send { interface }) => unsafe { bpf_redirect(interface, 0) as u32 },
        Err(reason) => {
            // Unless the loader switches it on, the verifier removes this.
            debug!(context, "packet dropped, reason {}", reason as u32);
            maps::count_drop(reason);
            xdp_action::XDP_DROP
        }
    }
}

/// A packet without ports is the kernel's business, unless it is a broken one for a VIP.
#[inline(always)]
fn refuse_for_services(unparsed: Unparsed) -> Result<Verdict, DropReason> {
    let (destination, reason) = match unparsed {
        Unparsed::Foreign => return Ok(Verdict::Pass),
        Unparsed::Fragment(destination) => (destination, DropReason::Fragment),
        Unparsed::Malformed(destination) => (destination, DropReason::Malformed),
    };
    match maps::endpoint(&EndpointKey::vip(destination)) {
        Some(_) => Err(reason),
        None => Ok(Verdict::Pass),
    }
}

/// Says where the packet that it is run on would go: writes an [`Explanation`] over it and changes nothing else.
///
/// It is never attached; the daemon runs it by `BPF_PROG_TEST_RUN`, so that the answer comes from the maps that packets
/// meet and from the code that they take.
#[xdp]
fn explain(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&context);
    let explanation = explanation(&context);
    match packet.view_mut::<[u8; Explanation::LEN]>(0) {
        Some(bytes) => {
            *bytes = explanation.to_bytes();
            xdp_action::XDP_PASS
        }
        None => xdp_action::XDP_ABORTED,
    }
}

#[inline(always)]
fn explanation(context: &XdpContext) -> Explanation {
    let mut explanation = Explanation {
        moment: maps::now(),
        ..Explanation::default()
    };
    let mut headers = Headers::EMPTY;
    if parse_into(context, &mut headers).is_err() {
        return explanation;
    }
    let Some(index) = service::of_destination(&headers) else {
        return explanation;
    };
    let Some(service) = maps::service(index) else {
        return explanation;
    };
    let key = select::flow_key(index, &headers);
    explanation.service = index;
    explanation.slot = select::slot_of(service, &key);
    explanation.reason = Reason::NoBackend as u32;
    let mut selection = Selection::NONE;
    if select::select(index, &headers, Purpose::Explain, &mut selection).is_ok() {
        explanation.backend = selection.index;
        explanation.reason = selection.reason as u32;
    }
    explanation
}

/// Never reached: a reachable panic would be a loop without end, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

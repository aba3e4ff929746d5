//! The XDP programs.
//!
//! `balancer` is attached to the interfaces. A packet's path through it reads from top to bottom in [`balance`]: parse,
//! find the service, select the backend, translate, send; a reply the other way round. `explain` takes the same steps
//! for a packet that the daemon makes up, and reports instead of acting. [`probe`] has the programs for the daemon's health probes.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, sync_unsafe_cell)]
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

mod admit;
mod at_once;
mod failures;
mod forward;
mod fragment;
mod icmp;
mod inbound;
mod maps;
mod mss;
mod outcome;
mod probe;
mod quic;
mod reply;
mod route;
mod select;
mod service;
mod size;
mod skb;
mod source;
mod trace;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use balancer_common::{
    DropReason,
    abi::{Address, EndpointKey, Explanation, Reason},
    packet::{
        Family, Headers, Packet as _, Piece, Unparsed, ends_ipv4, ends_ipv6, parse_network, parse_plain_ipv4,
        parse_plain_ipv6, parse_transport, plain_family,
    },
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
    /// It has become the answer to its sender, and leaves by the interface that it came in by.
    Return,
    /// It leaves by the interface with this index.
    Send { interface: u32 },
}

/// Balances the packets of the interface that it is attached to: itself those that are like nearly all, and the others
/// by way of [`any_packet`].
#[xdp(frags)]
#[inline(always)]
fn balancer(context: XdpContext) -> u32 {
    maps::has_arena();
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
    let packet = &mut XdpPacket::plain(context);
    // What is the same for all packets of an IP version takes neither memory nor decisions where it is compiled for that alone.
    match plain_family(packet)? {
        Family::V4 => at_once_by(context, packet, ends_ipv4(packet)?, parse_plain_ipv4),
        Family::V6 => at_once_by(context, packet, ends_ipv6(packet)?, parse_plain_ipv6),
    }
}

#[inline(always)]
fn at_once_by<'a>(
    context: &XdpContext,
    packet: &mut XdpPacket<'a>,
    ends: [Address; 2],
    parse: fn(&XdpPacket<'a>) -> Option<Headers>,
) -> Option<u32> {
    let [source, destination] = ends;
    let is_to_vip = maps::may_be_vip(destination);
    if !is_to_vip && !maps::may_be_backend(source) {
        return Some(xdp_action::XDP_PASS);
    }
    let headers = &parse(packet)?;
    if headers.ttl <= 1 {
        return None;
    }
    let decision = if is_to_vip && let Some(service) = service::of_destination(headers) {
        at_once::forward(packet, headers, service)?
    } else if maps::may_be_backend(source)
        && let Some(backend) = service::backend_of_source(headers)
    {
        if service::may_be_mapped(backend) {
            return None;
        }
        reply::forward_at_once(packet, headers, backend)?
    } else {
        Ok(Verdict::Pass)
    };
    Some(act(context, decision))
}

/// Balances any packet. A program of its own, which `balancer` tail-calls: calls within a program cost more than the
/// packets that need none of them should pay, and the stack has no room for both. While somebody follows what is decided, it is
/// attached itself.
#[xdp(frags)]
fn any_packet(context: XdpContext) -> u32 {
    maps::has_arena();
    trace::begin(&context);
    let action = decide(&context);
    trace::end(&context, action);
    action
}

#[inline(always)]
fn decide(context: &XdpContext) -> u32 {
    let mut headers = Headers::EMPTY;
    if let Err(unparsed) = parse_into(context, &mut headers) {
        trace::note_headers(&headers);
        return act(context, refuse_for_services(unparsed));
    }
    let is_complete = headers.fragment.piece == Piece::Whole || fragment::complete(&mut headers);
    trace::note_headers(&headers);
    if !is_complete {
        return act(context, fragment::refuse(&headers));
    }
    if !headers.has_ports() {
        icmp::icmp_message(context.ctx, &raw const headers)
    } else if let Some(service) = service::of_destination(&headers) {
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
        _ => Err(Unparsed::Foreign),
    }
}

const PARSED: u32 = 0;
const FOREIGN: u32 = 1;
const MALFORMED: u32 = 2;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_packet(context: *mut xdp_md, headers: *mut Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `to_backend`.
    let Some(headers) = (unsafe { headers.as_mut() }) else {
        return FOREIGN;
    };
    let packet = XdpPacket::new(&context);
    let parsed = parse_network(&packet).and_then(|parsed| {
        *headers = parsed;
        maps::anew(headers);
        parse_transport(&packet, headers)
    });
    match parsed {
        Ok(()) => PARSED,
        Err(Unparsed::Malformed(destination)) => {
            headers.destination = destination;
            MALFORMED
        }
        Err(Unparsed::Foreign) => FOREIGN,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn to_backend(context: *mut xdp_md, headers: *const Headers, service: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    let mut packet = XdpPacket::new(&context);
    let decision = inbound::forward(&mut packet, headers, service);
    answer_or_act(&context, headers, || headers.destination, decision)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn to_client(context: *mut xdp_md, headers: *const Headers, backend: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `to_backend`.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    let decision = reply::forward(&mut XdpPacket::new(&context), headers, backend);
    answer_or_act(&context, headers, || reply::vip_of(backend), decision)
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
        Some(decision) => answer_or_act(&context, headers, || headers.destination, decision),
        None => to_client(context.ctx, &raw const *headers, backend),
    }
}

/// [`act`], after the sender of a packet that is dropped was told of it, by `reporter`, if it is to be told.
#[inline(always)]
fn answer_or_act(
    context: &XdpContext,
    headers: &Headers,
    reporter: impl FnOnce() -> Address,
    decision: Result<Verdict, DropReason>,
) -> u32 {
    let action = act(context, decision);
    match decision {
        Err(reason) if icmp::tell_sender(&XdpPacket::new(context), headers, &reporter(), reason) => xdp_action::XDP_TX,
        _ => action,
    }
}

/// The XDP action for what was decided. Every drop is counted here and nowhere else.
#[inline(always)]
fn act(context: &XdpContext, decision: Result<Verdict, DropReason>) -> u32 {
    match decision {
        Ok(Verdict::Pass) => xdp_action::XDP_PASS,
        Ok(Verdict::Return) => xdp_action::XDP_TX,
        Ok(Verdict::Send { interface }) if interface == context.ingress_ifindex() as u32 => xdp_action::XDP_TX,
        // SAFETY: the helper only notes the interface for the driver to use after the program.
        Ok(Verdict::Send { interface }) => unsafe { bpf_redirect(interface, 0) as u32 },
        Err(reason) => {
            // Unless the loader switches it on, the verifier removes this.
            debug!(context, "packet dropped, reason {}", reason as u32);
            maps::count_drop(reason);
            trace::note_drop(reason);
            xdp_action::XDP_DROP
        }
    }
}

/// A packet without ports is the kernel's business, unless it is a broken one for a VIP.
#[inline(always)]
fn refuse_for_services(unparsed: Unparsed) -> Result<Verdict, DropReason> {
    match unparsed {
        Unparsed::Malformed(destination) if maps::endpoint(&EndpointKey::vip(destination)).is_some() => {
            Err(DropReason::Malformed)
        }
        _ => Ok(Verdict::Pass),
    }
}

/// Says where the packet that it is run on would go: writes an [`Explanation`] over it and changes nothing else.
///
/// It is never attached; the daemon runs it by `BPF_PROG_TEST_RUN`, so that the answer comes from the maps that packets
/// meet and from the code that they take.
#[xdp]
fn explain(context: XdpContext) -> u32 {
    maps::has_arena();
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
    let service = maps::service(index);
    let key = select::flow_key(index, &headers);
    explanation.service = index;
    explanation.slot = select::slot_of(service, &key);
    if admit::by_source(index, service, headers.source).is_err() {
        explanation.reason = Reason::Denied as u32;
        return explanation;
    }
    explanation.reason = Reason::NoBackend as u32;
    let mut selection = Selection::NONE;
    let packet = XdpPacket::new(context);
    if inbound::select(&packet, &headers, index, Purpose::Ask, &mut selection).is_ok() {
        let is_known = matches!(selection.reason, Reason::Flow | Reason::Connection) && !selection.begins_flow;
        if !is_known && admit::new_flow(index, service, &headers, Purpose::Ask).is_err() {
            explanation.reason = Reason::Limited as u32;
            return explanation;
        }
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

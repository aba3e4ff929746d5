//! Control messages: echo requests to VIPs, and errors about packets that went through here.
//!
//! They are rare, so their way is apart from that of other packets, in functions that the verifier checks on their own.

mod relay;
mod report;

pub(crate) use report::tell_sender;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use balancer_common::{
    DropReason, Event,
    abi::EndpointKey,
    icmp::{self, Kind},
    packet::{Headers, parse_quoted_network, parse_quoted_ports},
};

use crate::{Verdict, act, maps, packet::XdpPacket};

/// What becomes of an ICMP or ICMPv6 message with these headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_message(context: *mut xdp_md, headers: *const Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return xdp_action::XDP_ABORTED;
    };
    let mut packet = XdpPacket::new(&context);
    let decision = match icmp::kind(&packet, headers) {
        Some(Kind::EchoRequest) => answer_echo(&mut packet, headers),
        Some(Kind::Error) if icmp_parse_quoted(context.ctx, headers) => relay::relay(&mut packet, headers),
        _ => Ok(Verdict::Pass),
    };
    act(&context, decision)
}

#[inline(always)]
fn answer_echo(packet: &mut XdpPacket<'_>, headers: &Headers) -> Result<Verdict, DropReason> {
    if maps::endpoint(&EndpointKey::vip(headers.destination)).is_none() {
        return Ok(Verdict::Pass);
    }
    icmp::answer_echo(packet, headers).ok_or(DropReason::Malformed)?;
    maps::count_event(Event::EchoAnswered);
    Ok(Verdict::Return)
}

/// Parses what an error quotes, and writes what the headers of an answer to that would be into the
/// [`Passage`](maps::Passage). Returns whether it has ports.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_parse_quoted(context: *mut xdp_md, error: *const Headers) -> bool {
    let context = XdpContext::new(context);
    // SAFETY: as in `icmp_message`.
    let (Some(error), Some(passage)) = (unsafe { error.as_ref() }, maps::passage()) else {
        return false;
    };
    let packet = XdpPacket::new(&context);
    let Some(quoted) = parse_quoted_network(&packet, error) else {
        return false;
    };
    passage.answer = quoted;
    maps::anew(&mut passage.answer);
    let quoted = &mut passage.answer;
    if parse_quoted_ports(&packet, quoted).is_none() {
        return false;
    }
    *quoted = quoted.reversed();
    true
}

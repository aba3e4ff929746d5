//! What senders are told of packets that go no further.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason, Event,
    abi::{Address, protocol},
    icmp::{self, Error},
    packet::{Headers, Piece},
    reset::write_reset,
    translate::Resize as _,
};

use crate::{maps, packet::XdpPacket};

/// Tells the sender of a packet that is dropped for `reason`, if that is something to be told: the packet becomes an ICMP error
/// from `reporter`, or a TCP reset. Returns whether it has.
#[inline(always)]
pub(crate) fn tell_sender(packet: &XdpPacket<'_>, headers: &Headers, reporter: &Address, reason: DropReason) -> bool {
    // Of a packet in pieces, the first one's sender is told (RFC 1122, 3.2.2; RFC 4443, 2.4).
    if headers.fragment.piece == Piece::Later {
        return false;
    }
    match reason {
        DropReason::Rejected if headers.protocol == protocol::TCP => reset_connection(packet.context(), headers),
        DropReason::TooBig | DropReason::TtlExpired | DropReason::Rejected => {
            icmp_report(packet.context(), headers, reporter, reason as u32)
        }
        _ => false,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_report(
    context: *mut xdp_md,
    headers: *const Headers,
    reporter: *const Address,
    reason: u32,
) -> bool {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let headers = unsafe { headers.as_ref() };
    // SAFETY: as above.
    let reporter = unsafe { reporter.as_ref() };
    let (Some(headers), Some(reporter)) = (headers, reporter) else {
        return false;
    };
    let error = match DropReason::from_number(reason) {
        Some(DropReason::TooBig) => Error::TooBig { mtu: maps::limit() },
        Some(DropReason::Rejected) => Error::PortUnreachable,
        _ => Error::TimeExceeded,
    };
    within_budget(headers, || {
        report(&mut XdpPacket::new(&context), headers, *reporter, error)
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reset_connection(context: *mut xdp_md, headers: *const Headers) -> bool {
    let context = XdpContext::new(context);
    // SAFETY: as in `icmp_report`.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return false;
    };
    within_budget(headers, || {
        let mut packet = XdpPacket::new(&context);
        let length = write_reset(&mut packet, headers)?;
        packet.cut(length)
    })
}

/// Answers the sender of a packet, unless it has had as many answers as it may. Returns whether it was answered.
#[inline(always)]
fn within_budget(headers: &Headers, answer: impl FnOnce() -> Option<()>) -> bool {
    if !maps::may_answer(headers.source) {
        maps::count_event(Event::SenderNotTold);
        return false;
    }
    let answered = answer().is_some();
    if answered {
        maps::count_event(Event::SenderTold);
    }
    answered
}

#[inline(always)]
fn report(packet: &mut XdpPacket<'_>, headers: &Headers, reporter: Address, error: Error) -> Option<()> {
    let quoted = headers.length.min(icmp::quotable(headers.family) as u32);
    let sum = maps::sum(packet.context(), u32::from(headers.network), quoted)?;
    packet.cut(u32::from(headers.network) + quoted)?;
    packet.grow_front(icmp::room(headers.family) as i32)?;
    let message = error.header(headers.family);
    icmp::write_error(packet, headers, reporter, message, quoted as usize, sum)
}

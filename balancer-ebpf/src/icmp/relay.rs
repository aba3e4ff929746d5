//! Errors about packets of flows, on to those whose packets they were.
//!
//! What an error quotes is known by what an answer to it would be like: by the headers of that its flow is found, as any
//! other packet's, and the ends that it would get are, the other way round, those of the quoted packet.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason, Event,
    abi::{ANY_PORT, Forwarding},
    icmp::{is_refusal, translate_across, translate_quoted},
    packet::{Headers, Ports},
    rewrite,
    translate::Ends,
};

use crate::{
    Verdict, admit, failures,
    forward::{self, full_nat::replace_ends},
    maps::{self, Passage},
    outcome,
    packet::XdpPacket,
    reply, route,
    select::{self, Purpose, Selection},
    service, source, trace,
};

/// Sends an error on to the end of the flow that the quoted packet came from. One about a packet that did not go through
/// here, a health probe for example, is passed on as it is. Nothing is remembered: an error begins no flow.
///
/// The [`Passage`] has the headers of an answer to the quoted packet.
#[inline(always)]
pub(super) fn relay(packet: &mut XdpPacket<'_>, error: &Headers) -> Result<Verdict, DropReason> {
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    // An error goes to the sender of what it quotes. One that says otherwise tells of nothing that was sent.
    if passage.answer.destination != error.destination {
        return Ok(Verdict::Pass);
    }
    let (way, event) = if let Some(service) = service::of_destination(&passage.answer) {
        passage.flow = select::flow_key(service, &passage.answer);
        passage.selection = Selection::NONE;
        trace::note_service(service);
        // Who reports it may be any host on the way.
        let record = maps::service(service);
        admit::by_source(service, record, passage.answer.source)?;
        select::select(service, &passage.answer, Purpose::Ask, &mut passage.selection)?;
        trace::note_backend(passage.selection.index, passage.selection.reason);
        (icmp_way_to_backend(error), Event::ErrorToBackend)
    } else if let Some(backend) = service::backend_of_source(&passage.answer) {
        let way = icmp_way_to_client(packet.context(), error, backend);
        (way, Event::ErrorToClient)
    } else {
        return Ok(Verdict::Pass);
    };
    match way {
        NONE => return Ok(Verdict::Pass),
        AS_QUOTED => send_as_quoted(packet, error)?,
        number => {
            outcome::result(number)?;
            if passage.ends.family() == error.family {
                restore_quoted(packet, error)?;
                send(packet, error)?;
            } else {
                send_across(packet, error)?;
            }
        }
    }
    maps::count_event(event);
    let interface = maps::passage().ok_or(DropReason::Internal)?.next_hop.interface;
    Ok(Verdict::Send { interface })
}

// Numbers that stand for no outcome.

/// The quoted packet did not go through here.
const NONE: u32 = u32::MAX;
/// Who has sent the quoted packet has sent it as it is quoted.
const AS_QUOTED: u32 = u32::MAX - 1;

/// The quoted packet came from a VIP, and the backend in the [`Passage`] has sent it. The passage then says what the ends of the
/// answer would be.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_way_to_backend(error: *const Headers) -> u32 {
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let (Some(error), Some(passage)) = (unsafe { error.as_ref() }, maps::passage()) else {
        return outcome::number(Err(DropReason::Internal));
    };
    to_backend(error, passage).unwrap_or_else(|reason| outcome::number(Err(reason)))
}

#[inline(always)]
fn to_backend(error: &Headers, passage: &mut Passage) -> Result<u32, DropReason> {
    if error.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let service = maps::service(passage.flow.service);
    let backend = maps::backend(passage.selection.index);
    if !backend.next_hop.is_known() {
        return Err(DropReason::NoNextHop);
    }
    passage.next_hop = maps::copied(&backend.next_hop);
    match service.forwarding() {
        Forwarding::Nat => {
            let mut ports = passage.answer.ports;
            if backend.port != ANY_PORT {
                ports.destination = backend.port;
            }
            passage.ends = Ends {
                source: passage.answer.source,
                destination: backend.address,
                ports,
            };
        }
        Forwarding::FullNat => {
            if !source::is_mapped(passage) {
                return Ok(NONE);
            }
        }
        // The backend has the VIP.
        Forwarding::Dsr | Forwarding::Ipip | Forwarding::Gue => return Ok(AS_QUOTED),
    }
    Ok(outcome::number(Ok(())))
}

/// The quoted packet went to the backend with this index. The [`Passage`] then says what the ends of the answer would be.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_way_to_client(context: *mut xdp_md, error: *const Headers, backend: u32) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `icmp_way_to_backend`.
    let (Some(error), Some(passage)) = (unsafe { error.as_ref() }, maps::passage()) else {
        return outcome::number(Err(DropReason::Internal));
    };
    if !is_of_flow(passage, backend) {
        return NONE;
    }
    let packet = XdpPacket::new(&context);
    if error.source == passage.answer.source && is_refusal(&packet, error) == Some(true) {
        failures::note_refusal(passage.service, passage.backend);
    }
    outcome::number(route(&packet, error, passage))
}

/// Whether an answer from the backend with this index would be a flow's.
#[inline(always)]
fn is_of_flow(passage: &mut Passage, index: u32) -> bool {
    if service::may_be_mapped(index) && reply::full_nat::mapping_of_answer(passage) {
        trace::note_reply(passage.service, passage.backend);
        return true;
    }
    let backend = maps::backend(index);
    let Some(flow) = reply::flow_of(&passage.answer, index, backend, Purpose::Ask) else {
        return false;
    };
    let service = maps::service(flow.service);
    trace::note_reply(flow.service, flow.backend);
    passage.service = flow.service;
    passage.backend = flow.backend;
    passage.ends = Ends {
        source: service.vip,
        destination: passage.answer.destination,
        ports: Ports {
            source: flow.service_port,
            destination: passage.answer.ports.destination,
        },
    };
    true
}

#[inline(always)]
fn route(packet: &XdpPacket<'_>, error: &Headers, passage: &mut Passage) -> Result<(), DropReason> {
    if error.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let outgoing = Headers {
        destination: passage.ends.destination,
        family: passage.ends.family(),
        ..*error
    };
    passage.next_hop = route::next_hop(packet, &outgoing, passage.ends.source)?;
    Ok(())
}

#[inline(always)]
fn send_as_quoted(packet: &XdpPacket<'_>, error: &Headers) -> Result<(), DropReason> {
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    forward::prepare_alone(packet, error, &passage.flow, passage.selection.index)
}

/// Gives the error the ends of the answer, but for its sender where the answer would keep its own: who reports the error is
/// known to the receiver as he is, like clients. Else, whoever he is, the error comes from whom the receiver has sent to:
/// hosts behind a VIP cannot be reached (RFC 5508, 4.2), nor can perhaps those in front of it.
#[inline(always)]
fn send(packet: &mut XdpPacket<'_>, error: &Headers) -> Result<(), DropReason> {
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    if passage.ends.source == passage.answer.source {
        passage.ends.source = error.source;
    }
    replace_ends(packet, error)?;
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    rewrite::address_frame(packet, &passage.next_hop).ok_or(DropReason::Malformed)
}

/// Sends the error on in the other IP version. It comes from whom the receiver has sent to, since its own sender has no address
/// there.
#[inline(always)]
fn send_across(packet: &mut XdpPacket<'_>, error: &Headers) -> Result<(), DropReason> {
    let outcome = outcome::result(icmp_across(packet.context(), error));
    packet.refresh();
    outcome?;
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    rewrite::address_frame(packet, &passage.next_hop).ok_or(DropReason::Malformed)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_across(context: *mut xdp_md, error: *const Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: as in `icmp_way_to_backend`.
    let (Some(error), Some(passage)) = (unsafe { error.as_ref() }, maps::passage()) else {
        return outcome::number(Err(DropReason::Internal));
    };
    let packet = &mut XdpPacket::new(&context);
    let (quoted, quoted_ends) = (passage.answer.reversed(), passage.ends.reversed());
    outcome::number(translate_across(packet, error, &quoted, &passage.ends, &quoted_ends))
}

/// Gives the quoted packet the ends that its sender gave it: those of the [`Passage`], the other way round.
#[inline(always)]
fn restore_quoted(packet: &XdpPacket<'_>, error: &Headers) -> Result<(), DropReason> {
    if icmp_restore_quoted(packet.context(), error) {
        Ok(())
    } else {
        Err(DropReason::Malformed)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_restore_quoted(context: *mut xdp_md, error: *const Headers) -> bool {
    let context = XdpContext::new(context);
    // SAFETY: as in `icmp_way_to_backend`.
    let (Some(error), Some(passage)) = (unsafe { error.as_ref() }, maps::passage()) else {
        return false;
    };
    let packet = &mut XdpPacket::new(&context);
    translate_quoted(packet, error, &passage.answer.reversed(), &passage.ends.reversed()).is_some()
}

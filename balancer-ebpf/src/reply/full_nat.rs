//! Replies to the balancer's own addresses.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason,
    abi::{FlowKey, Mapping, MappingKey, Side},
    packet::{Headers, Ports},
    rewrite,
    translate::{self, Ends},
};

use super::count;
use crate::{
    Verdict, failures,
    forward::full_nat::replace_ends,
    maps::{self, Passage},
    mss, outcome,
    packet::XdpPacket,
    route, source, trace,
};

/// Sends a backend's packet to the client whose flow has its destination. `None` if no flow has; the packet is then as it
/// was.
#[inline(always)]
pub(crate) fn forward(packet: &mut XdpPacket<'_>, headers: &Headers) -> Option<Result<Verdict, DropReason>> {
    match find_mapping(packet.context(), &raw const *headers) {
        NOT_MAPPED => None,
        number => Some(outcome::result(number).and_then(|()| send(packet, headers))),
    }
}

#[inline(always)]
fn send(packet: &mut XdpPacket<'_>, headers: &Headers) -> Result<Verdict, DropReason> {
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    mss::clamp(packet, headers, maps::service(passage.service))?;
    replace_ends(packet, headers)?;
    let passage = maps::passage().ok_or(DropReason::Internal)?;
    rewrite::address_frame(packet, &passage.next_hop).ok_or(DropReason::Malformed)?;
    count(headers, passage.backend);
    Ok(Verdict::Send {
        interface: passage.next_hop.interface,
    })
}

/// Returned for a packet to no flow; a number that stands for no outcome.
const NOT_MAPPED: u32 = u32::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_mapping(context: *mut xdp_md, headers: *const Headers) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return NOT_MAPPED;
    };
    let packet = XdpPacket::new(&context);
    match maps::passage().and_then(|passage| find(&packet, headers, passage)) {
        Some(ends) => outcome::number(ends),
        None => NOT_MAPPED,
    }
}

/// Says in the [`Passage`] what becomes of the packet.
#[inline(always)]
fn find(packet: &XdpPacket<'_>, headers: &Headers, passage: &mut Passage) -> Option<Result<(), DropReason>> {
    let now = source::now();
    let mapping = mapping_of(headers, passage, now)?;
    if mapping.from_backend == Side::default() {
        let key = FlowKey {
            client: mapping.client,
            service: passage.service,
            client_port: mapping.client_port,
            service_port: mapping.service_port,
        };
        failures::note_first_answer(&key, headers);
    }
    source::answer(mapping, now, headers.tcp_flags);
    trace::note_reply(passage.service, passage.backend);
    Some(route(packet, headers, passage))
}

/// Whether the answer in the [`Passage`] would be a reply that belongs to a flow. The passage then says what its ends would be.
#[inline(always)]
pub(crate) fn mapping_of_answer(passage: &mut Passage) -> bool {
    let answer = passage.answer;
    mapping_of(&answer, passage, source::now()).is_some()
}

/// The mapping of the flow that a reply with these headers belongs to. The [`Passage`] then says what its ends are to be.
#[inline(always)]
fn mapping_of(headers: &Headers, passage: &mut Passage, now: u32) -> Option<&'static mut Mapping> {
    passage.key = MappingKey {
        source: headers.destination,
        backend: headers.source,
        source_port: headers.ports.destination,
        backend_port: headers.ports.source,
        protocol: headers.protocol as u32,
    };
    let mapping = maps::mapping(&passage.key)?;
    let backend = maps::backend(mapping.backend);
    // The index may have passed to another backend, or to none.
    let known = backend.incarnation == mapping.incarnation && backend.address == headers.source;
    if !known || !mapping.is_held(now) {
        return None;
    }
    passage.backend = mapping.backend;
    passage.service = backend.service;
    passage.ends = Ends {
        source: maps::service(backend.service).vip,
        destination: mapping.client,
        ports: Ports {
            source: mapping.service_port,
            destination: mapping.client_port,
        },
    };
    Some(mapping)
}

#[inline(always)]
fn route(packet: &XdpPacket<'_>, headers: &Headers, passage: &mut Passage) -> Result<(), DropReason> {
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let ends = &passage.ends;
    let family = ends.family();
    let outgoing = Headers {
        source: ends.source,
        destination: ends.destination,
        ports: ends.ports,
        length: translate::length(headers, family),
        family,
        ..*headers
    };
    match route::next_hop(packet, &outgoing, ends.source) {
        Ok(next_hop) => passage.next_hop = next_hop,
        Err(reason) => {
            // The limit is that of the other IP version.
            maps::note_limit(maps::limit().wrapping_add(headers.length).wrapping_sub(outgoing.length));
            return Err(reason);
        }
    }
    Ok(())
}

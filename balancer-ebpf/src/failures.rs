//! Backends that refuse connections or leave them unanswered, as live traffic shows it, counted where the service has that
//! watched.

use balancer_common::{
    abi::{Flow, FlowKey, Service, Tick},
    affinity::{Memory, Sender, tcp},
    packet::Headers,
};

use crate::{maps, select::Purpose};

/// How a backend has failed a client.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    Refused,
    Unanswered,
}

/// Counts a client's packet of a flow that is remembered if it asks again for a connection, since there was no answer: once
/// for each connection, and only after some time, since a client may repeat itself sooner than any backend could answer.
///
/// Returns what the flow's backend is remembered by: a connection that has not come about has nothing to lose at another one.
#[inline(always)]
pub(crate) fn note_request(
    service: &Service,
    flow: &mut Flow,
    headers: &Headers,
    now: Tick,
    purpose: Purpose,
) -> Memory {
    if !service.watches_failures() || !tcp::is_request(headers.tcp_flags) || !flow.phase.awaits_answer() {
        return Memory::Flow;
    }
    let is_overdue = now.since(flow.last_seen) >= maps::answer_time();
    if purpose == Purpose::Forward && is_overdue && !flow.phase.is_overdue() {
        maps::count_failure(flow.owner.backend, Failure::Unanswered);
        flow.phase = flow.phase.overdue();
    }
    Memory::Client
}

/// Counts a backend's packet of a flow if it refuses the connection. To be called before the flow advances.
#[inline(always)]
pub(crate) fn note_answer(service: u32, flow: &Flow, headers: &Headers) {
    if flow.phase.is_refused_by(headers.tcp_flags) {
        note_refusal(service, flow.owner.backend);
    }
}

/// Does as [`note_answer`] where a flow does not advance with its replies.
#[inline(always)]
pub(crate) fn note_first_answer(key: &FlowKey, headers: &Headers) {
    if maps::service(key.service).watches_failures()
        && let Some(flow) = maps::flow(key)
    {
        note_answer(key.service, flow, headers);
        let phase = flow.phase.after(Sender::Backend, headers.tcp_flags);
        maps::advance(flow, phase);
    }
}

/// Counts a refusal by a backend of the service.
#[inline(always)]
pub(crate) fn note_refusal(service: u32, backend: u32) {
    if maps::service(service).watches_failures() {
        maps::count_failure(backend, Failure::Refused);
    }
}

//! From backends to clients.

pub(crate) mod full_nat;

use balancer_common::{
    DropReason,
    abi::{ANY_PORT, Address, Backend, BackendFlags, Flow, FlowKey, NextHop, Port, ReverseKey, Service, Tracking},
    affinity::{Sender, tcp},
    packet::Headers,
    rewrite::{self, End},
};

use crate::{
    Verdict, failures, maps, mss,
    packet::XdpPacket,
    route,
    select::{self, Purpose},
    trace,
};

/// Sends a packet from the backend with index `index` to the client, if it belongs to a flow that came through here. One
/// that does not, the answer to a health probe for example, is passed on as it is.
#[inline(always)]
pub(crate) fn forward(packet: &mut XdpPacket<'_>, headers: &Headers, index: u32) -> Result<Verdict, DropReason> {
    let backend = maps::backend(index);
    let Some(flow) = flow_of(headers, index, backend, Purpose::Forward) else {
        return Ok(Verdict::Pass);
    };
    trace::note_reply(flow.service, flow.backend);
    let service = maps::service(flow.service);
    let next_hop = match route::next_hop(packet, headers, service.vip) {
        // It may be for the host itself, the answer to a health probe for example. The kernel would not forward it either.
        Err(DropReason::NoRoute | DropReason::RouteRefused | DropReason::ForwardingDisabled) if !flow.remembered => {
            return Ok(Verdict::Pass);
        }
        next_hop => next_hop?,
    };
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    mss::clamp(packet, headers, service)?;
    send(packet, headers, service, &flow, &next_hop)
}

/// [`forward`] the short way, without calls: for replies whose way is remembered, unless they are to go the long way
/// (`None`).
#[inline(always)]
pub(crate) fn forward_at_once(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    index: u32,
) -> Option<Result<Verdict, DropReason>> {
    let backend = maps::backend(index);
    // A reset may be a refusal.
    let rare = backend.flags.contains(BackendFlags::SHARED_ENDPOINT) || headers.tcp_flags & tcp::RST != 0;
    if rare {
        return None;
    }
    let Some(flow) = flow_found_by(maps::flow_at_once, headers, index, backend, Purpose::Forward) else {
        return Some(Ok(Verdict::Pass));
    };
    let service = maps::service(flow.service);
    let route = route::remembered(packet, headers, service.vip)?;
    if headers.length > route.mtu || mss::is_to_be_clamped(headers, service) {
        return None;
    }
    Some(send(packet, headers, service, &flow, &route.next_hop))
}

#[inline(always)]
fn send(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    service: &Service,
    flow: &RepliedFlow,
    next_hop: &NextHop,
) -> Result<Verdict, DropReason> {
    rewrite::translate(
        packet,
        headers,
        End::Source,
        maps::copied(&service.vip),
        flow.service_port,
    )
    .ok_or(DropReason::Malformed)?;
    rewrite::address_frame(packet, next_hop).ok_or(DropReason::Malformed)?;
    count(headers, flow.backend);
    Ok(Verdict::Send {
        interface: next_hop.interface,
    })
}

/// The VIP that a backend's replies come from, or one of those that share the backend's endpoint.
#[inline(always)]
pub(crate) fn vip_of(backend: u32) -> Address {
    maps::copied(&maps::service(maps::backend(backend).service).vip)
}

/// The flow that a reply belongs to.
pub(crate) struct RepliedFlow {
    pub(crate) service: u32,
    pub(crate) service_port: Port,
    pub(crate) backend: u32,
    /// Whether it is known to be one, and not just to come from a backend's endpoint.
    remembered: bool,
}

/// The flow that a reply with these headers, from the backend with index `index`, belongs to, if it went through here.
#[inline(always)]
pub(crate) fn flow_of(headers: &Headers, index: u32, backend: &Backend, purpose: Purpose) -> Option<RepliedFlow> {
    flow_found_by(maps::flow, headers, index, backend, purpose)
}

/// [`flow_of`], with the function by which a flow is found.
#[inline(always)]
fn flow_found_by(
    find: fn(&FlowKey) -> Option<&'static mut Flow>,
    headers: &Headers,
    index: u32,
    backend: &Backend,
    purpose: Purpose,
) -> Option<RepliedFlow> {
    // A flow from before its backend's endpoint came to be shared has no record of its way back: it belongs to the
    // backend that had the endpoint first, and that is the one in the endpoint table.
    let shared = if backend.flags.contains(BackendFlags::SHARED_ENDPOINT) {
        maps::reverse_flow(&reverse_key(headers))
    } else {
        None
    };
    let (service, service_port, index) = match shared {
        Some(flow) => (flow.service, flow.service_port, flow.backend),
        None if backend.reply_port == ANY_PORT => (backend.service, headers.ports.source, index),
        None => (backend.service, backend.reply_port, index),
    };
    let key = FlowKey {
        client: headers.destination,
        service,
        client_port: headers.ports.destination,
        service_port,
    };
    let remembered = if may_be_remembered(&key) { find(&key) } else { None };
    let Some(flow) = remembered else {
        // Where flows need not be remembered, whatever comes from a backend's endpoint is taken for a reply.
        let tracked = maps::service(service).tracking() == Tracking::Full;
        return (!tracked).then_some(RepliedFlow {
            service,
            service_port,
            backend: index,
            remembered: false,
        });
    };
    // The flow may be another backend's by now.
    let owner = maps::backend(flow.owner.backend);
    let own = owner.address == headers.source && (owner.port == ANY_PORT || owner.port == headers.ports.source);
    if !own {
        return None;
    }
    if purpose == Purpose::Forward {
        failures::note_answer(service, flow, headers);
        let phase = flow.phase.after(Sender::Backend, headers.tcp_flags);
        maps::advance(flow, phase);
    }
    Some(RepliedFlow {
        service,
        service_port,
        backend: flow.owner.backend,
        remembered: true,
    })
}

/// Whether a packet of the flow's client would have the flow looked for.
#[inline(always)]
fn may_be_remembered(key: &FlowKey) -> bool {
    let service = maps::service(key.service);
    service.remembers_all()
        || !service.is_usual()
        || select::slot_at_once(key.service, key.client, key.client_port).has_changed()
}

#[inline(always)]
fn reverse_key(headers: &Headers) -> ReverseKey {
    ReverseKey {
        client: headers.destination,
        backend: headers.source,
        client_port: headers.ports.destination,
        backend_port: headers.ports.source,
        protocol: headers.protocol as u32,
    }
}

#[inline(always)]
fn count(headers: &Headers, backend: u32) {
    maps::counters(backend).add_reply(headers.length);
}

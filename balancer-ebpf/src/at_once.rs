//! The short way to a backend, for nearly all packets: no call between functions of the program, and no case that is rare.
//!
//! What is not decided here goes the long way, which decides alike: [`inbound`].

use balancer_common::{
    DropReason,
    abi::{AffinityKind, Backend, Flow, Owner, Selection, Service, Tracking, protocol},
    affinity::{self, tcp},
    packet::Headers,
};

use crate::{Verdict, admit, forward, inbound, maps, mss, packet::XdpPacket, select};

/// Sends a packet for the service with index `index` to its backend, unless it is to go the long way (`None`).
#[inline(always)]
pub(crate) fn forward(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    index: u32,
) -> Option<Result<Verdict, DropReason>> {
    let service = maps::service(index);
    let is_usual = service.is_usual();
    if !is_usual && needs_more(service, headers) {
        return None;
    }
    if !is_usual && let Err(reason) = admit::by_source(index, service, headers.source) {
        return Some(Err(reason));
    }
    let is_tracked = service.remembers_all();
    let known = if is_tracked {
        maps::flow_at_once(&select::flow_key(index, headers))
    } else {
        None
    };
    let is_known = known.is_some();
    let (backend_index, backend) = match known {
        Some(flow) => (flow.owner.backend, of_flow(flow, headers, service.timeout)?),
        None if !is_usual && service.selection() != Selection::Maglev => return None,
        // Whether the flow may begin is to be decided.
        None if !is_usual && service.has_limits() && (is_tracked || tcp::is_request(headers.tcp_flags)) => return None,
        None => {
            let index = of_slot(service, index, headers)?;
            (index, maps::backend(index))
        }
    };
    if !backend.next_hop.is_known() {
        // The first one is no backend.
        return (backend_index == 0).then_some(Err(DropReason::NoBackend));
    }
    // Another one stands in for it.
    if !is_known && !select::takes_clients(backend) {
        return None;
    }
    match forward::prepare_plain(packet, headers, service, backend)? {
        Ok(()) => {}
        // Its sender is to be told.
        Err(DropReason::TooBig) => return None,
        Err(reason) => return Some(Err(reason)),
    }
    let begins_flow = if is_tracked {
        !is_known
    } else {
        tcp::is_request(headers.tcp_flags)
    };
    if is_tracked && begins_flow {
        let owner = Owner {
            backend: backend_index,
            incarnation: backend.incarnation,
        };
        let flow = inbound::first_of_flow(headers, owner);
        maps::remember_new_flow(
            &select::flow_key(index, headers),
            &flow,
            service.forwarding().replies_return(),
        );
    }
    inbound::count(headers, backend_index, begins_flow);
    Some(Ok(Verdict::Send {
        interface: backend.next_hop.interface,
    }))
}

/// Whether the service asks for something of the packet that the long way alone knows.
#[inline(always)]
fn needs_more(service: &Service, headers: &Headers) -> bool {
    mss::is_to_be_clamped(headers, service) || service.affinity() != AffinityKind::ClientIpPort || service.has_pins()
}

/// The backend that a flow is remembered to have.
#[inline(always)]
fn of_flow(flow: &mut Flow, headers: &Headers, timeout: u32) -> Option<&'static Backend> {
    let owner = flow.owner;
    let backend = maps::backend(owner.backend);
    if !select::serves_flows(backend) || backend.incarnation != owner.incarnation {
        return None;
    }
    let now = maps::now();
    if flow.phase.stays_open(headers.tcp_flags) {
        if flow.last_seen != now {
            if !affinity::is_remembered(now, flow.last_seen, timeout) {
                return None;
            }
            flow.last_seen = now;
        }
    // A request that is repeated is rare.
    } else if tcp::is_request(headers.tcp_flags) || !select::is_remembered(flow, now, timeout) {
        return None;
    } else {
        select::keep_flow(flow, headers, now);
    }
    Some(backend)
}

/// The index of the backend that the table of the service with this index names, 0 for none, if no flow can belong to another.
#[inline(always)]
fn of_slot(service: &Service, index: u32, headers: &Headers) -> Option<u32> {
    let slot = select::slot_at_once(index, headers.source, headers.ports.source);
    let may_differ = || service.tracking() == Tracking::Changes && headers.protocol == protocol::TCP;
    if slot.has_changed() && may_differ() {
        return None;
    }
    Some(slot.backend())
}

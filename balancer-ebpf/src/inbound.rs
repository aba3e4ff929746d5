//! From clients to backends.

use balancer_common::{
    DropReason,
    abi::{Client, Flow, FlowKey, Owner},
    affinity::Phase,
    packet::Headers,
};

use crate::{
    Verdict, forward, maps, mss,
    packet::XdpPacket,
    select::{self, Purpose, Selection},
};

/// Sends a packet for the service with index `service` to its backend.
#[inline(always)]
pub(crate) fn forward(packet: &mut XdpPacket<'_>, headers: &Headers, service: u32) -> Result<Verdict, DropReason> {
    let record = maps::service(service).ok_or(DropReason::Internal)?;
    let key = select::flow_key(service, headers);
    let mut selection = Selection::NONE;
    select::select(service, headers, Purpose::Forward, &mut selection)?;
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let backend = maps::backend(selection.index).ok_or(DropReason::Internal)?;
    if !backend.next_hop.is_known() {
        return Err(DropReason::NoNextHop);
    }
    mss::clamp(packet, headers, record)?;
    forward::prepare(packet, headers, &key, record, selection.index, backend)?;

    remember(&key, headers, &selection, backend.incarnation);
    count(headers, service, selection.index, selection.begins_flow);
    Ok(Verdict::Send {
        interface: backend.next_hop.interface,
    })
}

/// Notes where the flow and its client go, if they are to be remembered.
#[inline(always)]
fn remember(key: &FlowKey, headers: &Headers, selection: &Selection, incarnation: u32) {
    let owner = Owner {
        backend: selection.index,
        incarnation,
    };
    let last_seen = maps::now();
    if selection.note_flow {
        let flow = Flow {
            owner,
            last_seen,
            phase: Phase::first(headers.protocol, headers.tcp_flags),
            _padding: 0,
            _reserved: 0,
        };
        maps::remember_flow(key, &flow);
    }
    if selection.note_client {
        let client = Client {
            owner,
            last_seen,
            _padding: 0,
        };
        maps::remember_client(&selection.client, &client);
    }
}

/// Counts a packet that is forwarded.
#[inline(always)]
pub(crate) fn count(headers: &Headers, service: u32, backend: u32, new_flow: bool) {
    if let Some(traffic) = maps::service_traffic(service) {
        traffic.add_packet(headers.length, new_flow);
    }
    if let Some(traffic) = maps::backend_traffic(backend) {
        traffic.add_packet(headers.length, new_flow);
    }
}

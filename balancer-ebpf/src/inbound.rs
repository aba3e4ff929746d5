//! From clients to backends.

use balancer_common::{
    DropReason,
    abi::{Client, Flow, FlowKey, Owner, Service},
    affinity::Phase,
    packet::{Headers, Piece},
};

use crate::{
    Verdict, admit, forward, maps, mss,
    packet::XdpPacket,
    quic,
    select::{self, Purpose, Selection},
    trace,
};

/// Sends a packet for the service with index `service` to its backend.
#[inline(always)]
pub(crate) fn forward(packet: &mut XdpPacket<'_>, headers: &Headers, service: u32) -> Result<Verdict, DropReason> {
    let record = maps::service(service);
    let key = select::flow_key(service, headers);
    trace::note_service(service);
    admit::by_source(service, record, headers.source)?;
    let mut selection = Selection::NONE;
    select(packet, headers, service, Purpose::Forward, &mut selection)?;
    trace::note_backend(selection.index, selection.reason);
    if selection.begins_flow {
        admit::new_flow(service, record, headers, Purpose::Forward)?;
    }
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let backend = maps::backend(selection.index);
    if !backend.next_hop.is_known() {
        return Err(DropReason::NoNextHop);
    }
    mss::clamp(packet, headers, record)?;
    forward::prepare(packet, headers, &key, record, selection.index, backend)?;

    remember(&key, headers, record, &selection, backend.incarnation);
    let begins_flow = selection.begins_flow && headers.fragment.piece != Piece::Later;
    count(headers, selection.index, begins_flow);
    Ok(Verdict::Send {
        interface: backend.next_hop.interface,
    })
}

/// Selects the backend of a packet to the service with index `service`: the one that its connection ID names if it has such
/// a thing, else that of its flow or client.
///
/// # Errors
///
/// Why no backend gets the packet.
#[inline(always)]
pub(crate) fn select(
    packet: &XdpPacket<'_>,
    headers: &Headers,
    service: u32,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<(), DropReason> {
    if quic::select(packet, headers, service, purpose, selection)? {
        return Ok(());
    }
    select::select(service, headers, purpose, selection)
}

/// Notes where the flow and its client go, if they are to be remembered.
#[inline(always)]
fn remember(key: &FlowKey, headers: &Headers, service: &Service, selection: &Selection, incarnation: u32) {
    let owner = Owner {
        backend: selection.index,
        incarnation,
    };
    // A later fragment may not say which flow it is of.
    if selection.note_flow && headers.fragment.piece != Piece::Later {
        remember_flow(key, headers, service, owner);
    }
    if selection.note_client {
        let client = Client {
            owner,
            last_seen: maps::now(),
            _padding: 0,
        };
        maps::remember_client(&selection.client, &client);
    }
}

/// Notes where the flow goes that this packet is the first one of.
#[inline(always)]
fn remember_flow(key: &FlowKey, headers: &Headers, service: &Service, owner: Owner) {
    // Answers that pass here are known by their flow.
    maps::remember_flow(
        key,
        &first_of_flow(headers, owner),
        service.forwarding().replies_return(),
    );
}

/// What is remembered of a flow that this packet is the first one of.
#[inline(always)]
pub(crate) fn first_of_flow(headers: &Headers, owner: Owner) -> Flow {
    Flow {
        owner,
        last_seen: maps::now(),
        phase: Phase::first(headers.protocol, headers.tcp_flags),
        _padding: 0,
        _reserved: 0,
    }
}

/// Counts a packet that is forwarded to a backend.
#[inline(always)]
pub(crate) fn count(headers: &Headers, backend: u32, begins_flow: bool) {
    let counters = maps::counters(backend);
    counters.add_packet(headers.length);
    if begins_flow {
        counters.add_flow();
    }
}

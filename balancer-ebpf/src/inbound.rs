//! From clients to backends.

use balancer_common::{
    DropReason,
    abi::{Flow, Reason},
    packet::Headers,
};

use crate::{Verdict, forward, maps, packet::XdpPacket, select};

/// Sends a packet for the service with index `service` to its backend.
#[inline(always)]
pub(crate) fn forward(packet: &mut XdpPacket<'_>, headers: &Headers, service: u32) -> Result<Verdict, DropReason> {
    let record = maps::service(service).ok_or(DropReason::Internal)?;
    let key = select::flow_key(service, headers);
    let selection = select::select(record, &key).ok_or(DropReason::NoBackend)?;
    if headers.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let backend = maps::backend(selection.index).ok_or(DropReason::Internal)?;
    if !backend.next_hop.is_known() {
        return Err(DropReason::NoNextHop);
    }
    forward::prepare(packet, headers, &key, record, backend)?;

    let new_flow = selection.reason != Reason::Flow;
    if new_flow {
        maps::remember_flow(
            &key,
            Flow {
                backend: selection.index,
                incarnation: backend.incarnation,
            },
        );
    }
    count(headers, service, selection.index, new_flow);
    Ok(Verdict::Send {
        interface: backend.next_hop.interface,
    })
}

#[inline(always)]
fn count(headers: &Headers, service: u32, backend: u32, new_flow: bool) {
    if let Some(traffic) = maps::service_traffic(service) {
        traffic.add_packet(headers.length, new_flow);
    }
    if let Some(traffic) = maps::backend_traffic(backend) {
        traffic.add_packet(headers.length, new_flow);
    }
}

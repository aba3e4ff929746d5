//! From clients to backends.

use balancer_common::{
    DropReason,
    abi::{ANY_PORT, Address, BackendFlags, Flow, FlowKey, Port, Reason, ReverseFlow, ReverseKey},
    packet::Headers,
    rewrite::{self, End},
};

use crate::{Verdict, maps, packet::XdpPacket, select};

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
    let port = match backend.port {
        ANY_PORT => headers.ports.destination,
        port => port,
    };
    rewrite::translate(packet, headers, End::Destination, backend.address, port).ok_or(DropReason::Malformed)?;
    rewrite::address_frame(packet, &backend.next_hop).ok_or(DropReason::Malformed)?;

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
    if backend.flags.contains(BackendFlags::SHARED_ENDPOINT) {
        remember_way_back(headers, &key, backend.address, port);
    }
    count(headers, service, selection.index, new_flow);
    Ok(Verdict::Send {
        interface: backend.next_hop.interface,
    })
}

/// Notes which service port the flow's replies belong to, since the backend's address and port do not tell.
#[inline(always)]
fn remember_way_back(headers: &Headers, key: &FlowKey, backend: Address, backend_port: Port) {
    let reverse_key = ReverseKey {
        client: key.client,
        backend,
        client_port: key.client_port,
        backend_port,
        protocol: headers.protocol as u32,
    };
    let flow = ReverseFlow {
        service: key.service,
        service_port: key.service_port,
        _padding: [0; 2],
    };
    if maps::reverse_flow(&reverse_key) != Some(flow) {
        maps::remember_reverse_flow(&reverse_key, flow);
    }
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

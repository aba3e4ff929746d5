//! The destination becomes the backend's; the client's own address stays, and replies come back through here.

use balancer_common::{
    DropReason,
    abi::{ANY_PORT, Address, Backend, BackendFlags, FlowKey, Port, ReverseFlow, ReverseKey},
    packet::Headers,
    rewrite::{self, End},
};

use crate::{maps, packet::XdpPacket, size};

#[inline(always)]
pub(super) fn prepare(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    key: &FlowKey,
    index: u32,
    backend: &Backend,
) -> Result<(), DropReason> {
    let port = translate(packet, headers, backend)?;
    if backend.flags.contains(BackendFlags::SHARED_ENDPOINT) {
        remember_way_back(headers, key, index, (backend.address, port));
    }
    Ok(())
}

/// Does so without noting the way back. Returns the port that the packet goes to.
#[inline(always)]
pub(super) fn translate(packet: &mut XdpPacket<'_>, headers: &Headers, backend: &Backend) -> Result<Port, DropReason> {
    size::check(headers, headers.length, u32::from(backend.mtu))?;
    // As numbers: the compiler for BPF takes pairs of bytes apart.
    let [own, requested] = [maps::copied(&backend.port), headers.ports.destination].map(u16::from_ne_bytes);
    let port = if own == const { u16::from_ne_bytes(ANY_PORT) } {
        requested
    } else {
        own
    };
    let port = port.to_ne_bytes();
    rewrite::translate(packet, headers, End::Destination, maps::copied(&backend.address), port)
        .ok_or(DropReason::Malformed)?;
    rewrite::address_frame(packet, &backend.next_hop).ok_or(DropReason::Malformed)?;
    Ok(port)
}

/// Notes which service port and backend the flow's replies belong to, since the backend's address and port do not tell.
#[inline(always)]
fn remember_way_back(headers: &Headers, key: &FlowKey, index: u32, (address, backend_port): (Address, Port)) {
    let reverse_key = ReverseKey {
        client: key.client,
        backend: address,
        client_port: key.client_port,
        backend_port,
        protocol: headers.protocol as u32,
    };
    let flow = ReverseFlow {
        service: key.service,
        backend: index,
        service_port: key.service_port,
        _padding: [0; 2],
    };
    if maps::reverse_flow(&reverse_key) != Some(flow) {
        maps::remember_reverse_flow(&reverse_key, flow);
    }
}

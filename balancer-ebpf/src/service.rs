//! Which service a packet is for, and which backend a reply is from.

use balancer_common::{
    abi::{ANY_PORT, Address, BackendFlags, EndpointKey, Port, Role},
    packet::Headers,
};

use crate::maps;

/// Index of the service that the packet's destination belongs to: by address and port, then by address and any port.
#[inline(always)]
pub(crate) fn of_destination(headers: &Headers) -> Option<u32> {
    find(
        Role::Service,
        headers.destination,
        headers.ports.destination,
        headers.protocol,
    )
}

/// Index of the backend that the packet's source belongs to.
#[inline(always)]
pub(crate) fn backend_of_source(headers: &Headers) -> Option<u32> {
    find(Role::Backend, headers.source, headers.ports.source, headers.protocol)
}

/// Whether replies of the backend with this index may be to addresses of the balancer's own.
#[inline(always)]
pub(crate) fn may_be_mapped(backend: u32) -> bool {
    maps::backend(backend).flags.contains(BackendFlags::FULL_NAT)
}

#[inline(always)]
fn find(role: Role, address: Address, port: Port, protocol: u8) -> Option<u32> {
    maps::endpoint(&EndpointKey::new(role, address, port, protocol))
        .or_else(|| maps::endpoint(&EndpointKey::new(role, address, ANY_PORT, protocol)))
}

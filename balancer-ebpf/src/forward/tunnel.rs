//! What the ways have in common that put the packet into another one, from this host to the backend.

use balancer_common::{
    DropReason,
    abi::Backend,
    encapsulation::{self, Encapsulation, Ends},
    packet::Headers,
    rewrite,
    translate::Resize as _,
};

use crate::{packet::XdpPacket, size};

#[inline(always)]
pub(super) fn prepare(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
    encapsulation: Encapsulation,
) -> Result<(), DropReason> {
    let ends = Ends {
        source: backend.tunnel_source,
        destination: backend.address,
    };
    let overhead = encapsulation.overhead(ends.family());
    size::check(headers, headers.length + overhead, u32::from(backend.mtu))?;
    // The host is a router to the packet inside (RFC 2003, 3.1; RFC 2473, 3.1).
    rewrite::count_down(packet, headers).ok_or(DropReason::Malformed)?;
    packet.grow_front(overhead as i32).ok_or(DropReason::NoHeadroom)?;
    encapsulation::wrap(packet, headers, encapsulation, ends, &backend.next_hop).ok_or(DropReason::Malformed)
}

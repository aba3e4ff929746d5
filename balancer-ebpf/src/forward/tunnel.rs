//! What the ways have in common that put the packet into another one, from this host to the backend.

use balancer_common::{
    DropReason,
    abi::Backend,
    encapsulation::{self, Encapsulation, Ends},
    packet::Headers,
    rewrite,
};

use crate::packet::XdpPacket;

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
    check_size(headers.length + overhead, backend)?;
    // The host is a router to the packet inside (RFC 2003, 3.1; RFC 2473, 3.1).
    rewrite::count_down(packet, headers).ok_or(DropReason::Malformed)?;
    packet.grow_front(overhead).ok_or(DropReason::NoHeadroom)?;
    encapsulation::wrap(packet, headers, encapsulation, ends, &backend.next_hop).ok_or(DropReason::Malformed)
}

/// Refuses an IP packet that with the headers of the tunnel would be `length` bytes long if that is more than fits.
#[inline(always)]
fn check_size(length: u32, backend: &Backend) -> Result<(), DropReason> {
    if length > backend.mtu as u32 {
        return Err(DropReason::TooBig);
    }
    Ok(())
}

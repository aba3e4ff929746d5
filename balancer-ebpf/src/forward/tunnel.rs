//! The packet travels inside another one, from this host to the backend: IP in IP, or in a UDP datagram (Generic UDP
//! Encapsulation), whose source port lets what balances load on the way, and the queues of the backend, tell flows apart.

use balancer_common::{
    DropReason,
    abi::Backend,
    encapsulation::{self, Encapsulation, Ends},
    packet::{Family, Headers},
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
    make_room(packet, headers, backend, encapsulation, backend.family())?;
    encapsulation::wrap(packet, headers, encapsulation, ends(backend), &backend.next_hop).ok_or(DropReason::Malformed)
}

/// [`prepare`] for a plain packet. Each outer IP version is compiled apart.
#[inline(always)]
pub(super) fn prepare_plain(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
    encapsulation: Encapsulation,
) -> Result<(), DropReason> {
    match backend.family() {
        Family::V4 => prepare_plain_by(packet, headers, backend, encapsulation, Family::V4),
        Family::V6 => prepare_plain_by(packet, headers, backend, encapsulation, Family::V6),
    }
}

#[inline(always)]
fn prepare_plain_by(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
    encapsulation: Encapsulation,
    outer: Family,
) -> Result<(), DropReason> {
    // Before the frame changes, what stands there is known to be there.
    let traffic_class = encapsulation::traffic_class(packet, headers.family, headers.network.into());
    let traffic_class = traffic_class.ok_or(DropReason::Malformed)?;
    make_room(packet, headers, backend, encapsulation, outer)?;
    let next_hop = &backend.next_hop;
    encapsulation::wrap_plain(
        packet,
        headers,
        encapsulation,
        outer,
        ends(backend),
        next_hop,
        traffic_class,
    )
    .ok_or(DropReason::Malformed)
}

#[inline(always)]
fn make_room(
    packet: &mut XdpPacket<'_>,
    headers: &Headers,
    backend: &Backend,
    encapsulation: Encapsulation,
    outer: Family,
) -> Result<(), DropReason> {
    let overhead = encapsulation.overhead(outer);
    size::check(headers, headers.length + overhead, u32::from(backend.mtu))?;
    // The host is a router to the packet inside (RFC 2003, 3.1; RFC 2473, 3.1).
    rewrite::count_down(packet, headers).ok_or(DropReason::Malformed)?;
    packet.grow_front(overhead as i32).ok_or(DropReason::NoHeadroom)
}

#[inline(always)]
const fn ends(backend: &Backend) -> Ends {
    Ends {
        source: backend.tunnel_source,
        destination: backend.address,
    }
}

//! The way to a client: the host's own routing, remembered.
//!
//! Backends are few and their next hops are in their records; clients are many, so their ways are looked up in the
//! kernel's FIB and kept in a small cache of each CPU until the daemon sees a route, neighbour or link change.

use aya_ebpf::{
    bindings::{self, bpf_fib_lookup as FibLookup},
    helpers::bpf_fib_lookup,
};
use balancer_common::{
    DropReason,
    abi::{ANY_PORT, Address, NeighborRequest, NextHop, ROUTE_CACHE, Route},
    hash,
    packet::{Family, Headers},
};

use crate::{maps, packet::XdpPacket, size};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Where a packet from `source` to the destination in `headers` leaves the host.
#[inline(always)]
pub(crate) fn next_hop(packet: &XdpPacket<'_>, headers: &Headers, source: Address) -> Result<NextHop, DropReason> {
    let route = match remembered(packet, headers, source) {
        Some(route) => route,
        None => look_up_anew(packet, headers, source)?,
    };
    size::check(headers, headers.length, route.mtu)?;
    Ok(route.next_hop)
}

/// The way that this CPU remembers for a packet from `source` to the destination in `headers`.
#[inline(always)]
pub(crate) fn remembered(packet: &XdpPacket<'_>, headers: &Headers, source: Address) -> Option<&'static Route> {
    let (ingress, epoch) = (packet.ingress(), maps::route_epoch());
    let [first, second] = places(headers);
    let route: &Route = maps::cached_route(first)?;
    if is_valid(route, headers, source, ingress, epoch) {
        return Some(route);
    }
    let route: &Route = maps::cached_route(second)?;
    is_valid(route, headers, source, ingress, epoch).then_some(route)
}

/// Asks the kernel for the way, and remembers it beside the one that was remembered there last.
#[inline(always)]
fn look_up_anew(packet: &XdpPacket<'_>, headers: &Headers, source: Address) -> Result<&'static Route, DropReason> {
    // If the state changes while the kernel answers, the answer is void.
    let epoch = maps::route_epoch();
    let ingress = packet.ingress();
    let (next_hop, mtu) = look_up(packet, headers, source, ingress)?;
    let [first, second] = places(headers);
    let second = maps::cached_route(second).ok_or(DropReason::Internal)?;
    let first = maps::cached_route(first).ok_or(DropReason::Internal)?;
    *second = *first;
    *first = Route {
        destination: headers.destination,
        source,
        next_hop,
        epoch,
        mtu,
        ingress,
        protocol: headers.protocol as u32,
    };
    Ok(first)
}

/// The two places in the cache where the way to the destination may be.
#[inline(always)]
const fn places(headers: &Headers) -> [u32; 2] {
    let pair = hash::scale(hash::client(headers.destination, ANY_PORT), ROUTE_CACHE / 2);
    [2 * pair, 2 * pair + 1]
}

#[inline(always)]
fn is_valid(route: &Route, headers: &Headers, source: Address, ingress: u32, epoch: u32) -> bool {
    route.destination == headers.destination
        && route.source == source
        && route.ingress == ingress
        && route.protocol == headers.protocol as u32
        && route.epoch == epoch
        && route.next_hop.is_known()
}

/// Asks the kernel's FIB. Returns the next hop and the MTU of the way.
#[inline(always)]
fn look_up(
    packet: &XdpPacket<'_>,
    headers: &Headers,
    source: Address,
    ingress: u32,
) -> Result<(NextHop, u32), DropReason> {
    // SAFETY: the structure consists of integers and unions of them, for which zero is a value.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.l4_protocol = headers.protocol;
    query.ifindex = ingress;
    // Any length that fits everywhere: the answer then carries the MTU, which is compared with the packet's own length.
    query.__bindgen_anon_1.tot_len = 1;
    match headers.family {
        Family::V4 => {
            query.family = AF_INET;
            query.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source.v4_octets());
            query.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(headers.destination.v4_octets());
        }
        Family::V6 => {
            query.family = AF_INET6;
            query.__bindgen_anon_3.ipv6_src = to_in6(source);
            query.__bindgen_anon_4.ipv6_dst = to_in6(headers.destination);
        }
    }
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: context and structure outlive the call, and the size is the structure's.
    let answer = unsafe { bpf_fib_lookup(packet.context().cast(), &raw mut query, size, 0) };
    match answer as u32 {
        bindings::BPF_FIB_LKUP_RET_SUCCESS => {}
        bindings::BPF_FIB_LKUP_RET_NO_NEIGH => {
            maps::request_neighbor(&NeighborRequest {
                address: neighbor(&query),
                interface: query.ifindex,
                _padding: 0,
            });
            return Err(DropReason::NoNeighbor);
        }
        bindings::BPF_FIB_LKUP_RET_FWD_DISABLED => return Err(DropReason::ForwardingDisabled),
        bindings::BPF_FIB_LKUP_RET_BLACKHOLE
        | bindings::BPF_FIB_LKUP_RET_UNREACHABLE
        | bindings::BPF_FIB_LKUP_RET_PROHIBIT => return Err(DropReason::RouteRefused),
        _ => return Err(DropReason::NoRoute),
    }
    // SAFETY: the kernel has written the field, in which any value is a length.
    let mtu = unsafe { query.__bindgen_anon_1.mtu_result };
    Ok((
        NextHop {
            interface: query.ifindex,
            destination: query.dmac,
            source: query.smac,
        },
        mtu as u32,
    ))
}

/// The neighbour on the way: the kernel puts the gateway, if there is one, in the place of the destination, and its
/// family, which may be the other one (RFC 8950), in that of the query's.
#[inline(always)]
fn neighbor(answer: &FibLookup) -> Address {
    if answer.family == AF_INET {
        // SAFETY: for IPv4 this is the member in use.
        Address::v4(unsafe { answer.__bindgen_anon_4.ipv4_dst }.to_ne_bytes())
    } else {
        // SAFETY: for IPv6 this is the member in use.
        Address::v6(from_in6(unsafe { answer.__bindgen_anon_4.ipv6_dst }))
    }
}

#[inline(always)]
const fn to_in6(address: Address) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

#[inline(always)]
const fn from_in6(words: [u32; 4]) -> [u8; 16] {
    let [first, second, third, fourth] = words;
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    let [i, j, k, l] = third.to_ne_bytes();
    let [m, n, o, p] = fourth.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

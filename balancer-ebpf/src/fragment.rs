//! Pieces of packets. The first one shows the ports, and is remembered for those that follow: they then go where it goes, as
//! any packet of the same flow does. Before it only those can go anywhere whose service takes every port and goes by the client alone.

use balancer_common::{
    DropReason, Event,
    abi::{ANY_PORT, AffinityKind, EndpointKey, FirstFragment, Forwarding, FragmentKey, Role},
    packet::{Headers, Piece, Ports},
};

use crate::{Verdict, maps, service, source};

/// Learns the ports of a fragment from the first one of its packet, or remembers them if it is that. Returns whether they are
/// known.
#[inline(always)]
pub(crate) fn complete(headers: &mut Headers) -> bool {
    complete_fragment(&raw mut *headers)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn complete_fragment(headers: *mut Headers) -> bool {
    // SAFETY: the caller passes a reference that it does not use meanwhile, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_mut() }) else {
        return false;
    };
    let key = FragmentKey {
        source: headers.source,
        destination: headers.destination,
        identification: headers.fragment.identification,
        protocol: headers.fragment.protocol.into(),
    };
    let now = source::now();
    if headers.fragment.piece == Piece::First {
        if service::of_destination(headers).is_some() || service::backend_of_source(headers).is_some() {
            let first = FirstFragment {
                ports: headers.ports,
                protocol: headers.protocol.into(),
                seen: now,
            };
            maps::remember_first_fragment(&key, &first);
        }
        return true;
    }
    let Some(first) = maps::first_fragment(&key).filter(|first| first.is_recent(now)) else {
        return go_without(headers);
    };
    headers.ports = first.ports;
    headers.protocol = first.protocol as u8;
    maps::count_event(Event::FragmentFollowed);
    true
}

/// Lets a later fragment go on without ports where neither the service nor the way of its packets depends on them. Returns whether
/// that is so.
#[inline(always)]
fn go_without(headers: &mut Headers) -> bool {
    let key = EndpointKey::new(Role::Service, headers.destination, ANY_PORT, headers.fragment.carries);
    let Some(service) = maps::endpoint(&key).map(maps::service) else {
        return false;
    };
    if service.affinity() != AffinityKind::ClientIp || service.forwarding() == Forwarding::FullNat {
        return false;
    }
    headers.ports = Ports::NONE;
    headers.protocol = headers.fragment.carries;
    true
}

/// Drops a later fragment for a VIP: which service it is for is not known.
#[inline(always)]
pub(crate) fn refuse(headers: &Headers) -> Result<Verdict, DropReason> {
    match maps::endpoint(&EndpointKey::vip(headers.destination)) {
        Some(_) => Err(DropReason::Fragment),
        None => Ok(Verdict::Pass),
    }
}

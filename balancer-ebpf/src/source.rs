//! The address and port of the balancer that a backend sees a flow come from, under full NAT.
//!
//! A flow sends from an address and port only while the [`Mapping`] of the two ends names it. A mapping is added by an
//! insert that fails where there is one, so of several CPUs one succeeds. It is held for a time after the flow's last
//! packet in either direction; then it is nobody's for a moment, and then a flow that comes upon it takes it over.
//! [`Source`] tells a flow where to look first, and no more.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use balancer_common::{
    DropReason,
    abi::{ANY_PORT, Address, Backend, FlowKey, Mapping, MappingKey, Side, Source, SourcePool, begins_connection},
    packet::{Headers, Ports},
    source_port::{self, TRIES},
};

use crate::{
    maps::{self, Passage},
    outcome,
};

/// Finds or makes the mapping of a flow to `backend`, which has the index `index`. The [`Passage`] then says what the
/// packet's ends are to be.
#[inline(always)]
pub(crate) fn acquire(headers: &Headers, flow: &FlowKey, index: u32, backend: &Backend) -> Result<(), DropReason> {
    let control_bits = u32::from(headers.tcp_flags);
    match recall_source(&raw const *headers, &raw const *flow, index, control_bits) {
        NOT_KNOWN => {
            let family = SourcePool::family(backend.address);
            outcome::result(search_source(&raw const *flow, family, control_bits))
        }
        number => outcome::result(number),
    }
}

/// Returned for a flow that does not hold the source that it had last; a number that stands for no outcome.
const NOT_KNOWN: u32 = u32::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recall_source(headers: *const Headers, flow: *const FlowKey, backend: u32, control_bits: u32) -> u32 {
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let headers = unsafe { headers.as_ref() };
    // SAFETY: as above.
    let flow = unsafe { flow.as_ref() };
    let (Some(headers), Some(flow), Some(passage)) = (headers, flow, maps::passage()) else {
        return outcome::number(Err(DropReason::Internal));
    };
    let (ports, protocol) = (headers.ports, headers.protocol);
    begin(ports, protocol, flow, backend, passage, control_bits as u8);
    if recall(flow, passage, control_bits) {
        outcome::number(Ok(()))
    } else {
        NOT_KNOWN
    }
}

/// Whether the flow in the [`Passage`] has a mapping to the backend that is selected there. The passage then says what the ends
/// of the answer there would be. Nothing is noted.
#[inline(always)]
pub(crate) fn is_mapped(passage: &mut Passage) -> bool {
    let Some(source) = maps::source(&passage.flow) else {
        return false;
    };
    let (ports, protocol) = (passage.answer.ports, passage.answer.protocol);
    let (flow, index) = (passage.flow, passage.selection.index);
    begin(ports, protocol, &flow, index, passage, 0);
    passage.key.source = source.address;
    passage.key.source_port = source.port;
    passage.take_ends_of_key();
    maps::mapping(&passage.key)
        .is_some_and(|mapping| mapping.is_same_flow(&passage.own) && mapping.is_held(passage.own.seen))
}

/// Notes what is known of the flow and its mapping without looking.
#[inline(always)]
fn begin(ports: Ports, protocol: u8, flow: &FlowKey, index: u32, passage: &mut Passage, control_bits: u8) {
    let backend = maps::backend(index);
    passage.key = MappingKey {
        source: Address::UNSPECIFIED,
        backend: backend.address,
        source_port: ANY_PORT,
        backend_port: match backend.port {
            ANY_PORT => ports.destination,
            port => port,
        },
        protocol: protocol as u32,
    };
    passage.own = Mapping {
        client: flow.client,
        client_port: flow.client_port,
        service_port: flow.service_port,
        backend: index,
        incarnation: backend.incarnation,
        idle: 0,
        seen: now(),
        from_client: Side::default().after(control_bits),
        from_backend: Side::default(),
        _padding: [0; 2],
    };
}

/// Whether the flow holds, or can have again, the source that it had last, if that is one for this backend.
#[inline(always)]
fn recall(flow: &FlowKey, passage: &mut Passage, control_bits: u32) -> bool {
    let Some(source) = maps::source(flow) else {
        return false;
    };
    if source.address.is_v4() != passage.key.backend.is_v4() {
        return false;
    }
    passage.key.source = source.address;
    passage.key.source_port = source.port;
    try_to_hold(passage, flow, control_bits)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_source(flow: *const FlowKey, family: u32, control_bits: u32) -> u32 {
    // SAFETY: as in `recall_source`.
    let found = match (unsafe { flow.as_ref() }, maps::passage()) {
        (Some(flow), Some(passage)) => search(flow, family, passage, control_bits),
        _ => Err(DropReason::Internal),
    };
    outcome::number(found)
}

/// Finds a source that the flow then holds.
#[inline(always)]
fn search(flow: &FlowKey, family: u32, passage: &mut Passage, control_bits: u32) -> Result<(), DropReason> {
    let pool = maps::source_pool(flow.service).ok_or(DropReason::Internal)?;
    let pooled = pool.addresses.get(family as usize).ok_or(DropReason::Internal)?;
    let (count, ports) = (pooled.count, (pool.first_port, pool.last_port));
    let (service, seed) = (flow.service, source_port::seed(flow));
    for attempt in 0..TRIES {
        let candidate = source_port::candidate(seed, service, attempt, count, ports);
        let (number, port) = candidate.ok_or(DropReason::PortsExhausted)?;
        let address = *pooled.addresses.get(number as usize).ok_or(DropReason::Internal)?;
        passage.key.source = address;
        passage.key.source_port = port;
        if try_to_hold(passage, flow, control_bits) {
            passage.source = Source {
                address,
                port,
                _padding: [0; 6],
            };
            maps::remember_source(flow, &passage.source);
            return Ok(());
        }
    }
    Err(DropReason::PortsExhausted)
}

/// Has the flow hold the mapping of the ends in its passage, if it does already or nobody else does. The packet's ends then
/// follow from it.
#[inline(always)]
fn try_to_hold(passage: &mut Passage, flow: &FlowKey, control_bits: u32) -> bool {
    hold_mapping(&raw mut *passage, flow.service, control_bits) == HELD
}

/// Returned if the flow holds the mapping.
const HELD: u32 = 1;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_mapping(passage: *mut Passage, service: u32, control_bits: u32) -> u32 {
    // SAFETY: the caller passes a reference that it does not use meanwhile.
    let Some(passage) = (unsafe { passage.as_mut() }) else {
        return 0;
    };
    if !hold(passage, service, control_bits as u8) {
        return 0;
    }
    passage.take_ends_of_key();
    HELD
}

#[inline(always)]
fn hold(Passage { key, own, .. }: &mut Passage, service: u32, control_bits: u8) -> bool {
    let now = own.seen;
    let mut present = maps::mapping(key);
    if let Some(present) = &mut present
        && !present.is_free(now)
    {
        let holds = present.is_same_flow(own) && present.is_held(now);
        if holds {
            renew(present, now, control_bits);
        }
        return holds;
    }
    let Some(pool) = maps::source_pool(service) else {
        return false;
    };
    own.idle = pool.idle;
    match present {
        // Another packet of the flow may just have been faster.
        None => maps::add_mapping(key, own) || maps::mapping(key).is_some_and(|faster| faster.is_same_flow(own)),
        Some(_) => maps::take_over(key, own, |present| present.is_free(now)),
    }
}

/// Notes a client's packet in the mapping of its flow.
#[inline(always)]
fn renew(mapping: &mut Mapping, now: u32, control_bits: u8) {
    let side = mapping.from_client.after(control_bits);
    touch(&mut mapping.seen, now);
    if side != mapping.from_client {
        mapping.from_client = side;
    }
    if begins_connection(control_bits) {
        mapping.from_backend = Side::default();
    }
}

/// Notes a backend's packet in the mapping of its flow.
#[inline(always)]
pub(crate) fn answer(mapping: &mut Mapping, now: u32, control_bits: u8) {
    let side = mapping.from_backend.after(control_bits);
    touch(&mut mapping.seen, now);
    if side != mapping.from_backend {
        mapping.from_backend = side;
    }
}

/// Writes once a second: the CPUs of the two directions share the cache line.
#[inline(always)]
fn touch(seen: &mut u32, now: u32) {
    if *seen != now {
        *seen = now;
    }
}

/// Seconds of the kernel's monotonic clock, which may lag by a tick of the kernel's timer.
#[inline(always)]
pub(crate) fn now() -> u32 {
    const NANOSECONDS: u64 = 1_000_000_000;
    // SAFETY: the helper takes nothing.
    (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
}

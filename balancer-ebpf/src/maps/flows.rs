//! The flow table (`balancer_common::flow_table`), and how busy backends are with its flows.
//!
//! It is an array: to find a flow takes no call, and the daemon reads it where it is.

use aya_ebpf::{Global, bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use balancer_common::{
    Event,
    abi::{Flow, FlowBucket, FlowEntry, FlowKey, Load, Owner, arena::LOADS},
    affinity::{Phase, Stage},
    flow_table::{self, CLAIMED, Geometry, Readiness, Room, VACANT},
};

use super::{arena, count_event, exchange, lifetimes, now, opaque, service};

#[btf_map]
static FLOWS: Array<FlowBucket, 699_072, { BPF_F_MMAPABLE as usize }> = Array::new();

#[unsafe(no_mangle)]
static FLOW_PAGES: Global<u32> = Global::new(21_845);
#[unsafe(no_mangle)]
static FLOW_SECRET: Global<u64> = Global::new(0x5ec3_e700_0000_0001);

/// Bytes of an entry.
const STRIDE: u64 = size_of::<FlowEntry>() as u64;

/// The buckets in which a flow may stand.
#[inline(always)]
fn places(key: &FlowKey) -> [u32; 2] {
    let geometry = Geometry {
        pages: FLOW_PAGES.load(),
    };
    geometry.places(key, FLOW_SECRET.load())
}

/// Where a flow goes, if it is remembered. By a call, so that the verifier follows the search once for all callers.
#[inline(always)]
pub(crate) fn flow(key: &FlowKey) -> Option<&'static mut Flow> {
    flow_at(find_flow(&raw const *key))
}

/// [`flow`] without a call.
#[inline(always)]
pub(crate) fn flow_at_once(key: &FlowKey) -> Option<&'static mut Flow> {
    let (_, bucket, offset) = find(key)?;
    flow_in(bucket, offset)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_flow(key: *const FlowKey) -> u64 {
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let key = unsafe { key.as_ref() };
    let found = key.and_then(find);
    found.map_or(NOWHERE, |(place, _, offset)| u64::from(place) << 32 | offset)
}

/// The bucket of a flow, by its number and where it is, and the offset of the flow's entry there, which is beyond all of them if
/// there is none.
#[inline(always)]
fn find(key: &FlowKey) -> Option<(u32, *mut FlowBucket, u64)> {
    let [first, second] = places(key);
    let words = key.words();
    let mut place = first;
    let mut bucket = FLOWS.get_ptr_mut(first)?;
    // SAFETY: as in `flow_in`.
    let [one, ..] = unsafe { &(*bucket).entries };
    // Most flows are the first ones of their bucket.
    if difference(one, words) == 0 {
        return Some((place, bucket, 0));
    }
    let mut offset = search(bucket, words);
    if offset > LAST {
        place = second;
        bucket = FLOWS.get_ptr_mut(second)?;
        offset = search(bucket, words);
    }
    Some((place, bucket, offset))
}

/// The flow where [`find_flow`] has found it: the bucket's number is in the upper half, and the offset in the lower one.
#[inline(always)]
fn flow_at(found: u64) -> Option<&'static mut Flow> {
    let bucket = FLOWS.get_ptr_mut((found >> 32) as u32)?;
    flow_in(bucket, found as u32 as u64)
}

#[inline(always)]
fn flow_in(bucket: *mut FlowBucket, offset: u64) -> Option<&'static mut Flow> {
    let entry = entry(bucket, offset)?;
    // SAFETY: the memory is the map's for good. Another CPU or the daemon may write it meanwhile, whole words at a time: at
    // worst a packet is sent where another flow goes that has just taken the place of this one.
    Some(unsafe { &mut (*entry).flow })
}

/// An offset at which there is no entry.
const NOWHERE: u64 = size_of::<FlowBucket>() as u64;
/// The offset of a bucket's last entry.
const LAST: u64 = 2 * STRIDE;

/// The offset of the flow's entry in the bucket, or one beyond all of them. Without a branch for each entry: the verifier would
/// follow each way on its own, and the CPU could not foresee them.
#[inline(always)]
fn search(bucket: *const FlowBucket, key: [u64; 3]) -> u64 {
    // SAFETY: as in `flow_in`.
    let [first, second, third] = unsafe { &(*bucket).entries };
    let offset = LAST + (differs(third, key) & (NOWHERE - LAST));
    let offset = STRIDE ^ ((offset ^ STRIDE) & differs(second, key));
    offset & differs(first, key)
}

/// All ones if this is not the flow's entry, zero if it is. One that is nobody's has no flow's key.
#[inline(always)]
fn differs(entry: &FlowEntry, key: [u64; 3]) -> u64 {
    let difference = difference(entry, key);
    let sign = opaque(difference | opaque(difference.wrapping_neg()));
    (sign.cast_signed() >> (u64::BITS - 1)).cast_unsigned()
}

/// Zero if this is the flow's entry.
#[inline(always)]
fn difference(entry: &FlowEntry, key: [u64; 3]) -> u64 {
    let ([a, b, c], [d, e, f]) = (entry.key.words(), key);
    (a ^ d) | (b ^ e) | (c ^ f)
}

/// The entry at an offset in a bucket.
#[inline(always)]
fn entry(bucket: *mut FlowBucket, offset: u64) -> Option<*mut FlowEntry> {
    if offset > LAST {
        return None;
    }
    // SAFETY: the last entry of a bucket begins at the offset that was compared with.
    Some(unsafe { bucket.cast::<u8>().add(offset as usize) }.cast())
}

/// Remembers where a flow goes. A table that cannot take it costs the flow its memory, not its packets. `may_displace` says
/// whether it is worth to forget a flow in use for it.
#[inline(always)]
pub(crate) fn remember_flow(key: &FlowKey, flow: &Flow, may_displace: bool) {
    insert_flow(&raw const *key, &raw const *flow, may_displace);
}

/// [`remember_flow`] for a flow that has been looked for and not found: without a call where the first of its buckets has room to
/// spare, as most have in a table that is not full.
#[inline(always)]
pub(crate) fn remember_new_flow(key: &FlowKey, flow: &Flow, may_displace: bool) {
    if begin_flow(key, flow).is_none() {
        remember_flow(key, flow, may_displace);
    }
}

/// Adds a flow to its first bucket if that has room to spare.
#[inline(always)]
fn begin_flow(key: &FlowKey, flow: &Flow) -> Option<()> {
    let [first, _] = places(key);
    let bucket = FLOWS.get_ptr_mut(first)?;
    // SAFETY: as in `flow_in`.
    let spare = flow_table::spare_entry(unsafe { &*bucket })?;
    let entry = entry(bucket, u64::from(spare) * STRIDE)?;
    claim(entry, VACANT)?;
    fill(entry, key, flow);
    Some(())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn insert_flow(key: *const FlowKey, flow: *const Flow, may_displace: bool) -> u32 {
    // SAFETY: as in `find_flow`.
    let (Some(key), Some(flow)) = (unsafe { key.as_ref() }, unsafe { flow.as_ref() }) else {
        return 0;
    };
    let [first, second] = places(key);
    let first_room = Room::from_bits(room_in_bucket(&raw const *key, first, may_displace));
    let second_room = Room::from_bits(room_in_bucket(&raw const *key, second, may_displace));
    let (bucket, room) = if flow_table::prefers_second(first_room, second_room) {
        (second, second_room)
    } else {
        (first, first_room)
    };
    let written = room.readiness != Readiness::NONE
        && FLOWS
            .get_ptr_mut(bucket)
            .and_then(|bucket| entry(bucket, u64::from(room.entry) * STRIDE))
            .is_some_and(|entry| replace(entry, key, flow).is_some());
    if !written {
        count_event(Event::FlowNotRemembered);
    } else if room.readiness.is_displacement() {
        count_event(Event::FlowEvicted);
    }
    0
}

/// Which entry of a bucket makes room for a flow ([`Room`]). A function with external linkage, so that what it returns is any
/// number to the verifier.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn room_in_bucket(key: *const FlowKey, bucket: u32, may_displace: bool) -> u64 {
    // SAFETY: as in `find_flow`.
    let (Some(key), Some(bucket)) = (unsafe { key.as_ref() }, FLOWS.get(bucket)) else {
        return 0;
    };
    let (words, now) = (key.words(), now());
    let mut room = Room::NONE;
    for (number, entry) in (0..).zip(&bucket.entries) {
        let lifetime = |entry: &FlowEntry| {
            let timeout = service(entry.key.service).timeout;
            lifetimes().of(entry.flow.phase, timeout)
        };
        let readiness = Readiness::of_entry(entry, words, now, lifetime, may_displace);
        room = room.or(number, readiness);
    }
    room.to_bits()
}

/// Puts a flow in the place of what is in an entry, unless somebody else does so at this moment.
#[inline(always)]
fn replace(entry: *mut FlowEntry, key: &FlowKey, flow: &Flow) -> Option<()> {
    // SAFETY: the entry is the map's.
    let owner = unsafe { &raw const (*entry).flow.owner };
    // SAFETY: as above. An owner is a word that is read whole.
    let before = unsafe { owner.read_volatile() };
    if before == CLAIMED {
        return None;
    }
    claim(entry, before)?;
    // SAFETY: the entry is the map's, and nobody else writes to it now.
    let phase = unsafe { (*entry).flow.phase };
    if flow_table::is_taken(before) && phase.stage() != Stage::Closed {
        add_load(before, 1_u64.wrapping_neg());
    }
    fill(entry, key, flow);
    Some(())
}

/// Claims an entry, to write to it, from its owner, if it still is that one's.
#[inline(always)]
fn claim(entry: *mut FlowEntry, before: Owner) -> Option<()> {
    // SAFETY: the entry is the map's.
    let owner = unsafe { &raw mut (*entry).flow.owner };
    // SAFETY: as above.
    unsafe { exchange(owner.cast(), bits(before), bits(CLAIMED)) }.then_some(())
}

/// Writes a flow to an entry that has been [claimed](claim).
#[inline(always)]
fn fill(entry: *mut FlowEntry, key: &FlowKey, flow: &Flow) {
    let claimed = FlowEntry {
        key: *key,
        flow: Flow {
            owner: CLAIMED,
            ..*flow
        },
    };
    // SAFETY: the entry is the map's, and whoever reads it now takes it for nobody's.
    unsafe { entry.write_volatile(claimed) };
    // SAFETY: as above.
    let owner = unsafe { &raw mut (*entry).flow.owner };
    // SAFETY: as above. All that goes before is written by now.
    unsafe { owner.write_volatile(flow.owner) };
    add_load(flow.owner, 1);
}

#[inline(always)]
const fn bits(owner: Owner) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (owner.backend.to_ne_bytes(), owner.incarnation.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Notes how far a flow has come.
#[inline(always)]
pub(crate) fn advance(flow: &mut Flow, phase: Phase) {
    if flow.phase == phase {
        return;
    }
    let over = |phase: Phase| phase.stage() == Stage::Closed;
    match (over(flow.phase), over(phase)) {
        (false, true) => add_load(flow.owner, 1_u64.wrapping_neg()),
        (true, false) => add_load(flow.owner, 1),
        _ => {}
    }
    flow.phase = phase;
}

/// How busy a backend is, if its flows are counted.
#[inline(always)]
pub(crate) fn load(backend: u32) -> &'static Load {
    arena::record(&LOADS, backend)
}

/// Counts flows of a backend, where they are counted.
#[inline(always)]
fn add_load(owner: Owner, flows: u64) {
    let load = arena::record_mut(&LOADS, owner.backend);
    // SAFETY: the record is there as long as the program, and its words are written whole.
    if unsafe { (*load).weight } != 0 {
        // SAFETY: as above.
        let count = unsafe { &raw mut (*load).flows };
        // SAFETY: as above.
        unsafe { super::add(count, flows) };
    }
}

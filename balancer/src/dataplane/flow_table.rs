//! The flow table, where packets have it: read, cleared and given to others a flow at a time.
//!
//! A flow may be written by a packet at any moment, and another one may take its place. Its owner is the first word that goes and
//! the last that comes (`FlowEntry`), so what lies between two looks at one owner is that owner's; and what is changed
//! here is the owner, if it still is the one that was seen.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use balancer_common::{
    abi::{Flow, FlowBucket, FlowEntry, FlowKey, Owner},
    flow_table::{self, CLAIMED, Geometry, VACANT},
};

use super::shared::{Mapping, Shared};

/// A [`FlowBucket`] in words.
#[repr(C)]
struct Bucket {
    entries: [Entry; FlowBucket::ENTRIES],
    _padding: AtomicU64,
}
const _: () = assert!(size_of::<Bucket>() == size_of::<FlowBucket>());

// SAFETY: it consists of 16 such integers, as the assertion says.
unsafe impl Shared for Bucket {}

/// A [`FlowEntry`] in words.
#[repr(C)]
struct Entry {
    key: [AtomicU64; 3],
    owner: AtomicU64,
    seen: AtomicU64,
}
const _: () = assert!(size_of::<Entry>() == size_of::<FlowEntry>());

/// The flow table.
pub(super) struct FlowTable(Mapping<Bucket>);

impl FlowTable {
    /// The table in this array, which has been made with room for so many flows.
    pub(super) fn of(array: &impl AsFd, flows: u32) -> io::Result<Self> {
        let buckets = Geometry::of(flows).buckets();
        Ok(Self(Mapping::of(array, buckets as usize)?))
    }

    /// Calls `visit` with every flow in the table, those that are over included.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&FlowKey, &Flow)) {
        for entry in self.entries() {
            if let Some(FlowEntry { key, flow }) = entry.read() {
                visit(&key, &flow);
            }
        }
    }

    /// Removes the flows for which `chosen` holds. Returns how many.
    pub(super) fn remove(&self, mut chosen: impl FnMut(&FlowKey, &Flow) -> bool) -> u64 {
        self.replace(|key, flow| chosen(key, flow).then_some(VACANT))
    }

    /// Gives flows to the owners that `next` names. Returns how many.
    pub(super) fn replace(&self, mut next: impl FnMut(&FlowKey, &Flow) -> Option<Owner>) -> u64 {
        let mut replaced = 0;
        for entry in self.entries() {
            if let Some(FlowEntry { key, flow }) = entry.read()
                && let Some(owner) = next(&key, &flow)
                && entry.replace_owner(flow.owner, owner)
            {
                replaced += 1;
            }
        }
        replaced
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.get().iter().flat_map(|bucket| &bucket.entries)
    }
}

impl Entry {
    /// What the entry holds, if it is a flow's.
    fn read(&self) -> Option<FlowEntry> {
        let owner = self.owner.load(Ordering::Acquire);
        if !flow_table::is_taken(owner_of(owner)) {
            return None;
        }
        let [first, second, third] = &self.key;
        let words = [first, second, third, &self.seen].map(|word| word.load(Ordering::Acquire));
        if self.owner.load(Ordering::Relaxed) != owner {
            return None;
        }
        let [first, second, third, seen] = words;
        Some(entry_of([first, second, third, owner, seen]))
    }

    /// Has the entry be `next`'s, or nobody's, if it still is the present owner's.
    fn replace_owner(&self, present: Owner, next: Owner) -> bool {
        if next != VACANT {
            return self.exchange(present, next);
        }
        // While it is claimed, nobody else writes the key.
        let claimed = self.exchange(present, CLAIMED);
        if claimed {
            for word in &self.key {
                word.store(0, Ordering::Release);
            }
            self.owner.store(word_of(VACANT), Ordering::Release);
        }
        claimed
    }

    fn exchange(&self, present: Owner, next: Owner) -> bool {
        let (present, next) = (word_of(present), word_of(next));
        let exchanged = self
            .owner
            .compare_exchange(present, next, Ordering::AcqRel, Ordering::Relaxed);
        exchanged.is_ok()
    }
}

fn entry_of(words: [u64; 5]) -> FlowEntry {
    // SAFETY: the record has this size, and any bytes are one: integers and arrays of them.
    unsafe { std::mem::transmute(words) }
}

fn owner_of(word: u64) -> Owner {
    // SAFETY: as above.
    unsafe { std::mem::transmute(word) }
}

fn word_of(owner: Owner) -> u64 {
    // SAFETY: the record has this size and no padding.
    unsafe { std::mem::transmute(owner) }
}

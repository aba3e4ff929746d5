//! Where a flow stands in the flow table, and which entry makes room for another one.
//!
//! The table is an array of [buckets](FlowBucket). Each flow has two of them by its hash, and stands in the first, or, where that
//! was nearly full when it began, in the one that had more room (Azar et al., "Balanced Allocations", 1994): with two entries for
//! every flow that there is to be room for, two flows in a thousand find both full when there are as many as that, and one in seven
//! stands in its second bucket, which is looked at only then.

use crate::{
    abi::{Flow, FlowBucket, FlowEntry, FlowKey, Owner, Tick},
    affinity::{self, Phase, Stage},
    hash,
};

/// Entries for each flow that there is to be room for.
const ENTRIES_PER_FLOW: u64 = 2;

/// Buckets in a page of memory. Both buckets of a flow are in one, since to find a page that the CPU does not know costs as much as
/// all that is then done with it.
const PAGE: u32 = 32;

/// How large a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Pages of buckets, at least one.
    pub pages: u32,
}

impl Geometry {
    /// A table with room for so many flows.
    pub const fn of(flows: u32) -> Self {
        let pages = (flows as u64 * ENTRIES_PER_FLOW).div_ceil(FlowBucket::ENTRIES as u64 * PAGE as u64) as u32;
        Self {
            pages: if pages == 0 { 1 } else { pages },
        }
    }

    /// How many buckets it has.
    pub const fn buckets(self) -> u32 {
        self.pages * PAGE
    }

    /// The two buckets of a flow, which are never the same. Those who do not know `secret` cannot choose flows that have theirs in common.
    #[inline(always)]
    pub const fn places(self, key: &FlowKey, secret: u64) -> [u32; 2] {
        let hash = hash::keyed(key.words(), secret);
        let page = hash::scale((hash >> 32) as u32, self.pages) * PAGE;
        let first = hash as u32 % PAGE;
        let distance = 1 + hash::scale(hash as u32, PAGE - 1);
        [page | first, page | (first ^ distance)]
    }
}

/// How readily something makes room for a flow: the more, the better. Zero is what stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Readiness(u32);

impl Readiness {
    /// It stays.
    pub const NONE: Self = Self(0);
    /// It is the flow itself.
    pub const SAME: Self = Self(u32::MAX);
    /// Nobody needs it.
    pub const FREE: Self = Self(1 << 30);
    /// A flow of which only the first packet has been seen.
    const OPENING: u32 = 1 << 29;
    /// The longest that a flow may be away and still count as longer away than another.
    const LONGEST: u32 = Self::OPENING - 2;

    /// That of a flow that was seen last at `last_seen`, where others are remembered for `lifetime` after that. One in use
    /// makes room for another only if it `may_displace` it: a flow that nobody remembers goes where the Maglev table says, which
    /// is well as long as the table stays, but answers by way of the balancer are known by their flow.
    #[inline(always)]
    pub const fn of(phase: Phase, last_seen: Tick, now: Tick, lifetime: u32, may_displace: bool) -> Self {
        if !affinity::is_remembered(now, last_seen, lifetime) {
            return Self::FREE;
        }
        let away = now.since(last_seen);
        let away = 1 + if away > Self::LONGEST { Self::LONGEST } else { away };
        if matches!(phase.stage(), Stage::Opening) {
            Self(Self::OPENING + away)
        } else if may_displace {
            Self(away)
        } else {
            Self::NONE
        }
    }

    /// That of an entry of the table for the flow with this key, where the flow in it would be remembered for `lifetime`.
    #[inline(always)]
    pub fn of_entry(
        entry: &FlowEntry,
        key: [u64; 3],
        now: Tick,
        lifetime: impl FnOnce(&FlowEntry) -> u32,
        may_displace: bool,
    ) -> Self {
        let Flow {
            owner,
            phase,
            last_seen,
            ..
        } = entry.flow;
        if owner == VACANT {
            Self::FREE
        } else if !is_taken(owner) {
            Self::NONE
        } else if entry.key.words() == key {
            Self::SAME
        } else {
            Self::of(phase, last_seen, now, lifetime(entry), may_displace)
        }
    }

    /// Whether a flow that is remembered would be forgotten.
    #[inline(always)]
    pub const fn is_displacement(self) -> bool {
        self.0 < Self::FREE.0
    }

    /// As a number.
    #[inline(always)]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// From a number.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// What of a bucket makes room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// How readily. Where several entries are free, their number counts.
    pub readiness: Readiness,
    /// Which entry.
    pub entry: u32,
}

impl Room {
    /// A bucket of which nothing is known yet.
    pub const NONE: Self = Self {
        readiness: Readiness::NONE,
        entry: 0,
    };

    /// With another entry of the bucket taken into account.
    #[must_use]
    #[inline(always)]
    pub const fn or(self, entry: u32, readiness: Readiness) -> Self {
        let is_free = readiness.0 == Readiness::FREE.0;
        let was_free = self.readiness.0 >= Readiness::FREE.0 && self.readiness.0 != Readiness::SAME.0;
        if is_free && was_free {
            Self {
                readiness: Readiness(self.readiness.0 + 1),
                entry: self.entry,
            }
        } else if readiness.0 > self.readiness.0 {
            Self { readiness, entry }
        } else {
            self
        }
    }

    /// Both in one number.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.readiness.0 as u64) << 32 | self.entry as u64
    }

    /// From such a number.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            readiness: Readiness((bits >> 32) as u32),
            entry: bits as u32,
        }
    }
}

/// Whether a flow stands in the second of its buckets rather than the first, which is looked at first. It does not if there is
/// [room to spare](spare_entry) in the first, unless it is in the second already.
#[inline(always)]
pub const fn prefers_second(first: Room, second: Room) -> bool {
    let has_spare = first.readiness.0 > Readiness::FREE.0;
    let is_there = second.readiness.0 == Readiness::SAME.0;
    second.readiness.0 > first.readiness.0 && (is_there || !has_spare)
}

/// The entry of its first bucket that a flow takes whatever its second one is like: a vacant one, if it is not the last.
#[inline(always)]
pub fn spare_entry(bucket: &FlowBucket) -> Option<u32> {
    let [first, second, third] = &bucket.entries;
    match [first, second, third].map(|entry| entry.flow.owner == VACANT) {
        [true, true, _] | [true, _, true] => Some(0),
        [_, true, true] => Some(1),
        _ => None,
    }
}

/// An entry without a flow. Its key is zero, since packets look for their flow by the key alone.
pub const VACANT: Owner = Owner {
    backend: 0,
    incarnation: 0,
};

/// An entry that a flow is being written to. No backend has this index.
pub const CLAIMED: Owner = Owner {
    backend: u32::MAX,
    incarnation: u32::MAX,
};

/// Whether an entry with this owner is a flow's.
#[inline(always)]
pub const fn is_taken(owner: Owner) -> bool {
    owner.backend != VACANT.backend && owner.backend != CLAIMED.backend
}

const _: () = assert!(FlowBucket::ENTRIES == 3);

#[cfg(test)]
mod tests;

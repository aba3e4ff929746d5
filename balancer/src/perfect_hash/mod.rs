//! The building side of the [perfect hash](balancer_common::perfect_hash) over endpoints.
//!
//! The kernel's two arrays, seeds and entries, change under traffic, one element after the other. A packet reads the
//! seed of a bucket and then, perhaps some writes later, an entry. For it to find all it should and nothing else:
//!
//! - Where a bucket gets a new seed, its keys are first copied to the entries that the new seed leads to; then the seed
//!   changes. The old copies stay for the packets that have read the old seed, until a [barrier](Write::Barrier).
//! - An entry that held one key is given to another only after a barrier, lest a packet that is just comparing sees half
//!   of each.
//!
//! A barrier takes the kernel milliseconds, so entries that wait for one are gathered: one [`Table::settle`] does for
//! any number of insertions and removals.

#[cfg(test)]
mod tests;

use std::{iter::successors, mem};

use balancer_common::{
    abi::{Endpoint, EndpointKey},
    perfect_hash::{EMPTY, Geometry},
};
use thiserror::Error;

/// The first seed of a bucket, odd.
const FIRST_SEED: u32 = 0x9e37_79b1;
/// From one seed to the next. Twice an odd number, so that it comes to every odd seed on its way around 2³², and close to
/// the golden section of 2³², so that each is far from those before.
const SEED_STEP: u32 = 0x9e37_79ba;
/// Seeds tried before a bucket is given up. At the capacity a bucket of n keys takes about 2ⁿ, and with four entries a
/// bucket one table in a billion has a bucket of 20.
const TRIES: usize = 1 << 20;

/// A change to the kernel's arrays. Changes are made in the order given, each before the next begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// Put `entry` at `index` of the entries.
    Entry {
        /// Index of the entry.
        index: u32,
        /// What is put there.
        entry: Endpoint,
    },
    /// Put `seed` at index `bucket` of the seeds.
    Seed {
        /// Index of the bucket.
        bucket: u32,
        /// What is put there.
        seed: u32,
    },
    /// Wait until every packet that was in the program when this began has left it.
    Barrier,
}

/// An endpoint cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the endpoint table has room for {capacity} endpoints and no more; remove some or make the table larger")]
pub struct Full {
    /// How many endpoints there is room for.
    pub capacity: usize,
}

/// The kernel's arrays are of another size than the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the pinned endpoint table has {seeds} seeds and {entries} entries, which is not its geometry; detach and start anew"
)]
pub struct WrongSize {
    /// How many seeds the kernel has.
    pub seeds: usize,
    /// How many entries the kernel has.
    pub entries: usize,
}

/// What the kernel's arrays hold once all [`Write`]s are made that the methods have returned so far.
///
/// A caller that could not make all of them has lost track of the kernel and goes on from what is there, by
/// [`Table::from_kernel`].
#[derive(Clone, Debug)]
pub struct Table {
    geometry: Geometry,
    seeds: Vec<u32>,
    entries: Vec<Endpoint>,
    /// The keys of each bucket.
    buckets: Vec<Vec<EndpointKey>>,
    /// How many keys there are.
    len: usize,
    /// Entries that no further key can have, as they hold one or wait for a barrier.
    taken: Vec<bool>,
    /// Entries whose key has been copied to another one and that are to be emptied after a barrier.
    outdated: Vec<u32>,
    /// Entries that have been emptied and are free after a barrier.
    emptied: Vec<u32>,
}

impl Table {
    /// The table of arrays that are all zero.
    pub fn new(geometry: Geometry) -> Self {
        let (buckets, entries) = (geometry.buckets() as usize, geometry.entries() as usize);
        Self {
            geometry,
            seeds: vec![EMPTY; buckets],
            entries: vec![Endpoint::default(); entries],
            buckets: vec![Vec::new(); buckets],
            len: 0,
            taken: vec![false; entries],
            outdated: Vec::new(),
            emptied: Vec::new(),
        }
    }

    /// The table of arrays that another process has left, perhaps in the midst of a change, and what to write to clean up
    /// after it. A key that it was about to insert or to remove is in the table or not.
    pub fn from_kernel(
        geometry: Geometry,
        seeds: Vec<u32>,
        entries: Vec<Endpoint>,
    ) -> Result<(Self, Vec<Write>), WrongSize> {
        let mut table = Self::new(geometry);
        if (seeds.len(), entries.len()) != (table.seeds.len(), table.entries.len()) {
            return Err(WrongSize {
                seeds: seeds.len(),
                entries: entries.len(),
            });
        }
        (table.seeds, table.entries) = (seeds, entries);
        for (index, entry) in (0..).zip(&table.entries) {
            let Some(key) = entry.key() else { continue };
            table.taken[index as usize] = true;
            if table.place(&key) == Some(index) {
                let bucket = geometry.bucket(key.hash());
                table.buckets[bucket as usize].push(key);
                table.len += 1;
            } else {
                table.outdated.push(index);
            }
        }
        // Entries that the other process emptied last may still be in use too, whether there are outdated ones or not.
        let writes = table.after_barrier();
        Ok((table, writes))
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys there is room for: half as many as entries, so that seeds are found quickly.
    pub fn capacity(&self) -> usize {
        self.entries.len() / 2
    }

    /// The target of `key`.
    pub fn get(&self, key: &EndpointKey) -> Option<u32> {
        self.entries[self.find(key)? as usize].target_of(key)
    }

    /// Every key with its target, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (EndpointKey, u32)> {
        let keys = self.buckets.iter().flatten();
        keys.filter_map(|key| Some((*key, self.get(key)?)))
    }

    /// Adds a key, or gives the one that is there another target. On an error nothing has changed.
    ///
    /// Below the [capacity](Self::capacity) there is room except in tables of a few dozen entries, whose buckets can be
    /// so uneven that no seed fits.
    pub fn insert(&mut self, key: EndpointKey, target: u32) -> Result<Vec<Write>, Full> {
        let entry = Endpoint::new(key, target);
        if let Some(index) = self.find(&key) {
            return Ok(vec![self.write(index, entry)]);
        }
        let full = Full {
            capacity: self.capacity(),
        };
        if self.len >= full.capacity {
            return Err(full);
        }
        let bucket = self.geometry.bucket(key.hash());
        let seed = self.fitting_seed(&key).ok_or(full)?;

        let mut writes = Vec::new();
        let old_seed = mem::replace(&mut self.seeds[bucket as usize], seed);
        if seed != old_seed {
            let hashes: Vec<u64> = self.buckets[bucket as usize].iter().map(|key| key.hash()).collect();
            for hash in hashes {
                let (from, to) = (self.geometry.entry(hash, old_seed), self.geometry.entry(hash, seed));
                if from != to {
                    writes.push(self.write(to, self.entries[from as usize]));
                    self.outdated.push(from);
                }
            }
        }
        writes.push(self.write(self.geometry.entry(key.hash(), seed), entry));
        if seed != old_seed {
            writes.push(Write::Seed { bucket, seed });
        }
        self.buckets[bucket as usize].push(key);
        self.len += 1;
        writes.extend(self.settle_if_due());
        Ok(writes)
    }

    /// Removes a key, if it is there. Packets that have read its target may go by it until the next barrier.
    pub fn remove(&mut self, key: &EndpointKey) -> Vec<Write> {
        let Some(index) = self.find(key) else {
            return Vec::new();
        };
        let mut writes = vec![self.vacate(index)];
        // Old copies go at once too: the next seed could lead to them again.
        let is_copy = |index: &mut u32| self.entries[*index as usize].target_of(key).is_some();
        let copies: Vec<u32> = self.outdated.extract_if(.., is_copy).collect();
        writes.extend(copies.into_iter().map(|copy| self.vacate(copy)));
        self.buckets[self.geometry.bucket(key.hash()) as usize].retain(|other| other != key);
        self.len -= 1;
        writes.extend(self.settle_if_due());
        writes
    }

    /// Clears up what earlier changes left behind: old copies are emptied, and what was emptied before is free again.
    ///
    /// Insertions and removals do so by themselves when much has gathered. A caller that has time after a series of
    /// changes spares them the wait.
    pub fn settle(&mut self) -> Vec<Write> {
        if self.waiting() == 0 {
            Vec::new()
        } else {
            self.after_barrier()
        }
    }

    /// A barrier, and what can be done after it.
    fn after_barrier(&mut self) -> Vec<Write> {
        for index in mem::take(&mut self.emptied) {
            self.taken[index as usize] = false;
        }
        let outdated = mem::take(&mut self.outdated);
        let vacated = outdated.into_iter().map(|index| self.vacate(index));
        [Write::Barrier].into_iter().chain(vacated).collect()
    }

    /// Settles before so many entries wait that seeds would be hard to find.
    fn settle_if_due(&mut self) -> Vec<Write> {
        if self.waiting() > self.entries.len() / 8 {
            self.after_barrier()
        } else {
            Vec::new()
        }
    }

    /// How many entries wait for a barrier.
    const fn waiting(&self) -> usize {
        self.outdated.len() + self.emptied.len()
    }

    /// The entry that the program looks for `key` in, if it looks at all.
    fn place(&self, key: &EndpointKey) -> Option<u32> {
        let hash = key.hash();
        let seed = self.seeds[self.geometry.bucket(hash) as usize];
        (seed != EMPTY).then(|| self.geometry.entry(hash, seed))
    }

    /// The entry that `key` is in.
    fn find(&self, key: &EndpointKey) -> Option<u32> {
        self.place(key)
            .filter(|&index| self.entries[index as usize].target_of(key).is_some())
    }

    /// A seed that leads the keys of a bucket and `added` to entries of their own, each either free or already the
    /// key's; the present seed if it does.
    fn fitting_seed(&self, added: &EndpointKey) -> Option<u32> {
        let bucket = self.geometry.bucket(added.hash()) as usize;
        let present = self.seeds[bucket];
        let first = if present == EMPTY { FIRST_SEED } else { present };
        let hashes: Vec<u64> = [added]
            .into_iter()
            .chain(&self.buckets[bucket])
            .map(|key| key.hash())
            .collect();
        let mut places = Vec::with_capacity(hashes.len());
        let fits = |seed: &u32| {
            places.clear();
            hashes.iter().enumerate().all(|(number, &hash)| {
                let place = self.geometry.entry(hash, *seed);
                let own = number > 0 && place == self.geometry.entry(hash, present);
                let alone = !places.contains(&place);
                places.push(place);
                alone && (own || !self.taken[place as usize])
            })
        };
        successors(Some(first), |seed| Some(seed.wrapping_add(SEED_STEP)))
            .take(TRIES)
            .find(fits)
    }

    fn write(&mut self, index: u32, entry: Endpoint) -> Write {
        self.entries[index as usize] = entry;
        self.taken[index as usize] = true;
        Write::Entry { index, entry }
    }

    fn vacate(&mut self, index: u32) -> Write {
        self.emptied.push(index);
        self.write(index, self.entries[index as usize].vacated())
    }
}

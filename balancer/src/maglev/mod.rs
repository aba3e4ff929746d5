//! The Maglev lookup table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4).
//!
//! Every backend has a permutation of the slots, in order of preference, that follows from its address and port alone.
//! The backends take turns; in its turn a backend gets the slot that it likes best among those still free. So the table
//! depends on nothing but the set of backends and their weights, and every host that knows them builds the same one.
//! A backend that comes or goes takes or leaves its own slots and disturbs few others. One that only does not serve at present
//! keeps its place: others stand in for it, and nobody else is disturbed.

mod fill;
mod handover;
mod moved;
mod stand_in;
mod turns;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use balancer_common::abi::{Address, Port};
use xxhash_rust::xxh64::xxh64;

pub use moved::moved;

use fill::{Walk, fill};
use stand_in::stand_in;
use turns::Turns;

pub use handover::Slots;

// Whoever changes a seed moves clients.
const OFFSET_SEED: u64 = u64::from_be_bytes(*b"\0\0offset");
const SKIP_SEED: u64 = u64::from_be_bytes(*b"\0\0\0\0skip");

/// A backend that may be given slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The backend's address.
    pub address: Address,
    /// The backend's port; [`ANY_PORT`](balancer_common::abi::ANY_PORT) where the client's is kept.
    pub port: Port,
    /// Share of the slots relative to the other candidates; 0 takes none.
    pub weight: u32,
    /// What the table holds in this backend's slots: its index, never 0.
    pub value: u32,
    /// Whether it serves at present. While it does not, its slots are those of the candidates that stand in.
    pub serves: bool,
}

impl Candidate {
    /// What the backend's permutation follows from: its address, then its port, as bytes in network order.
    fn identity(&self) -> Identity {
        let mut identity = [0; 18];
        let (address, port) = identity.split_at_mut(16);
        address.copy_from_slice(&self.address.octets());
        port.copy_from_slice(&self.port);
        identity
    }
}

type Identity = [u8; 18];

/// How many slots a table has: a prime below 2³¹. Only over a prime does every skip reach every slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableSize(u32);

impl TableSize {
    /// What the paper calls small, and what a service has unless it asks for another size.
    pub const DEFAULT: Self = Self(65_537);

    /// A table of `slots` slots, or `None` if that is no prime below 2³¹.
    pub fn new(slots: u32) -> Option<Self> {
        let prime = slots >= 2 && (2..=slots.isqrt()).all(|divisor| !slots.is_multiple_of(divisor));
        (prime && slots < 1 << 31).then_some(Self(slots))
    }

    /// The number of slots.
    pub const fn slots(self) -> u32 {
        self.0
    }
}

/// Builds the table: for each slot the [value](Candidate::value) of its backend, or 0 everywhere if no candidate has
/// weight and serves.
///
/// The order of `candidates` has no influence. A candidate's share of the slots is its share of the sum of the weights,
/// rounded to whole slots, so one that is due less than half a slot may get none.
pub fn build(candidates: &[Candidate], size: TableSize) -> Vec<u32> {
    let mut serving: Vec<(Reverse<u32>, Identity, u32)> = candidates
        .iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (Reverse(candidate.weight), candidate.identity(), candidate.value))
        .collect();
    serving.sort_unstable();
    let weights: Vec<u32> = serving.iter().map(|&(Reverse(weight), ..)| weight).collect();
    let mut walks: Vec<Walk> = serving
        .iter()
        .map(|(_, identity, value)| Walk {
            slot: remainder(xxh64(identity, OFFSET_SEED), size.0),
            skip: remainder(xxh64(identity, SKIP_SEED), size.0 - 1) + 1,
            value: *value,
        })
        .collect();
    let mut table = fill(&mut walks, Turns::new(&weights), size.0);
    let absent = candidates.iter().filter(|candidate| !candidate.serves);
    let absent: Vec<u32> = absent.map(|candidate| candidate.value).collect();
    stand_in(&mut table, size.0, &absent);
    table
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder is smaller than its 32-bit divisor"
)]
const fn remainder(hash: u64, divisor: u32) -> u32 {
    (hash % divisor as u64) as u32
}

//! The endpoints that packets are mostly for, found by one read where the [perfect hash](crate::perfect_hash) takes two, one after
//! the other.
//!
//! There are [`PLACES`] of them, one for each hash of a key that is cheaper than a good one. An endpoint has the place of its hash
//! if no other had it before; who is not found there is looked for where all endpoints are.

use crate::abi::EndpointKey;

/// How many places there are.
pub const PLACES: u32 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 16;

/// The place that a key may have.
#[inline(always)]
pub const fn place(key: &EndpointKey) -> u32 {
    (key.scattered() >> (u64::BITS - PLACE_BITS)) as u32
}

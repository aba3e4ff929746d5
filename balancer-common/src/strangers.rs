//! Telling packets that are none of the balancer's business by their addresses alone, before anything is looked up.
//!
//! A table has a byte for each of [`PLACES`] hashes of an address. A set bit says of all addresses with that hash that none
//! has a [`Role`]. A table of zeros says nothing of anybody, so a new one turns nobody away.

use crate::{
    abi::{Address, Role},
    hash,
};

/// Bytes of a table.
pub const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 14;

/// No address here is a VIP.
pub const NO_VIP: u8 = 1;
/// No address here is a backend's.
pub const NO_BACKEND: u8 = 2;

/// Where an address stands.
#[inline(always)]
pub const fn place(address: Address) -> usize {
    (hash::scattered(address.words()) >> (u64::BITS - PLACE_BITS)) as usize
}

/// The bit that no place has set where an address with this role stands; 0 for a role that no packet is recognised by.
pub const fn absence(role: Role) -> u8 {
    match role {
        Role::Service | Role::Vip => NO_VIP,
        Role::Backend => NO_BACKEND,
        Role::Server => 0,
    }
}

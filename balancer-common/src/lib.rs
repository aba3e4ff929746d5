//! What the XDP program and the daemon agree on, and every decision that needs no kernel.
//!
//! The crate is `no_std` and free of allocation, so that the same code runs in the kernel and, tested and fuzzed, on the
//! host.

#![cfg_attr(not(test), no_std)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "hashes and sums are cut to size on purpose, and lengths come from 16-bit fields"
)]

pub mod abi;
pub mod affinity;
pub mod checksum;
pub mod client_budget;
pub mod decapsulation;
pub mod ecn;
pub mod encapsulation;
pub mod flow_table;
pub mod hash;
pub mod icmp;
pub mod mss;
pub mod packet;
pub mod perfect_hash;
pub mod quic;
pub mod reset;
pub mod rewrite;
pub mod shortcuts;
pub mod source_port;
pub mod stand_in;
pub mod strangers;
pub mod token_bucket;
pub mod translate;

mod counted;
mod drop_reason;
mod event;
mod ip_header;

pub use drop_reason::DropReason;
pub use event::Event;

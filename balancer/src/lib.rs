//! The daemon and the command line of the balancer.
//!
//! ARCHITECTURE.md at the root of the repository says how the modules work together.

pub mod config;
pub mod dataplane;
pub mod health;
pub mod maglev;
pub mod neighbors;
pub mod perfect_hash;
pub mod reconcile;

//! The daemon and the command line of the balancer.
//!
//! ARCHITECTURE.md at the root of the repository says how the modules work together.

pub mod cli;
pub mod config;
pub mod control;
pub mod controller;
pub mod daemon;
pub mod dataplane;
pub mod decap;
mod digest;
pub mod events;
pub mod health;
pub mod intent;
pub mod local_ports;
pub mod maglev;
pub mod metrics;
pub mod neighbors;
pub mod perfect_hash;
pub mod reconcile;
mod shortcuts;
mod strangers;
mod wording;

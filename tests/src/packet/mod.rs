//! Packets made by hand, and a host whose data plane takes them.
//!
//! Packets are built and read by `etherparse`, those that go in and those that have to come out alike, so that the code
//! under test never checks itself.

mod builder;
mod compare;
mod desired;
mod extension;
mod fragments;
mod host;
mod inspect;
mod ledger;
mod mutate;
mod report;
mod translation;
mod tunnel;

pub use builder::{Packet, Transport, address};
pub use compare::{Action, Outcome};
pub use desired::{backend, full_nat, next_hop, service};
pub use extension::Extension;
pub use fragments::fragments;
pub use host::{Host, Interface, Room};
pub use inspect::{Reading, read};
pub use ledger::{Ledger, received, replied};
pub use mutate::Specimen;
pub use report::Report;
pub use tunnel::{Flow, Tunnel};

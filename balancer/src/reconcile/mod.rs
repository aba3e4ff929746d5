//! From what the kernel holds to what it should hold.
//!
//! Every change of the data plane goes through here: [`diff`] compares the [`State`] of the maps with the [`Desired`] one
//! and returns [`Operation`]s in an order in which packets meet no gap. It is a pure function; the data plane carries the
//! operations out, and [`State::apply`] follows. A step that was cut short by a crash is completed by the next
//! difference, since the state is read back from the kernel.

mod access;
mod desired;
mod diff;
mod endpoints;
mod refresh;
mod state;

#[cfg(test)]
mod tests;

pub use desired::{Desired, DesiredBackend, DesiredPin, DesiredService, PinTarget};
pub use diff::{Exhausted, Limits, diff};
pub use refresh::{Refresh, refresh, stand};
pub use state::{BackendEntry, BackendIdentity, Index, Operation, PrefixKey, ServiceEntry, State, Table};

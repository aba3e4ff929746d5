//! Health checks: active ones, where every backend is asked at an interval, and its health changes when enough answers in a
//! row agree; and what failures in live traffic mean.
//!
//! - `probe`: what is asked. A further kind is one more file there, and one arm in `probe::from_config`.
//! - `threshold`: what the answers mean.
//! - `damping`: when a backend that keeps going down is held down.
//! - `schedule`: when the next probe starts.
//! - `destination`: where it goes.
//! - `checker`: the tasks that bring these together, and the only part that keeps state.
//! - `passive`: who is taken out of service for failures in live traffic.
//! - `descriptors`: room for as many probes at once as there may be.

mod checker;
mod damping;
mod descriptors;
mod destination;
pub mod passive;
mod probe;
mod schedule;
mod threshold;

pub use checker::{Checker, Outcome, Target, Verdict, Verdicts};
pub use descriptors::make_room;
pub use destination::Destination;
pub use probe::Failure;
pub use threshold::Health;

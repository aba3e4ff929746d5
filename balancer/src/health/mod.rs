//! Active health checks: every backend is asked at an interval, and its health changes when enough answers in a row
//! agree.
//!
//! - `probe`: what is asked. A further kind is one more file there, and one arm in `probe::from_config`.
//! - `threshold`: what the answers mean.
//! - `schedule`: when the next probe starts.
//! - `checker`: the tasks that bring the three together, and the only part that keeps state.

mod checker;
mod probe;
mod schedule;
mod threshold;

pub use checker::{Checker, Outcome, Target, Verdict, Verdicts};
pub use probe::Failure;
pub use threshold::Health;

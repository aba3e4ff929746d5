//! What is shown, in order. Each step says what it does, does it, shows what came of it, and judges that.

pub(super) mod comeback;
pub(super) mod counters;
pub(super) mod detach;
pub(super) mod drain;
pub(super) mod drops;
pub(super) mod failover;
pub(super) mod lookup;
pub(super) mod restart;
pub(super) mod setup;
pub(super) mod spread;
pub(super) mod stickiness;

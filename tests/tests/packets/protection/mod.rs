//! Packets that a service does not admit.

mod limits;
mod sources;
mod turns;

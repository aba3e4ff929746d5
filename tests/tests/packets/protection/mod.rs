//! Packets that a service does not admit.

mod sources;

//! The control socket: how client commands talk to the daemon.

pub mod client;
pub mod protocol;
pub mod server;

//! The metrics endpoint: `/metrics` in the Prometheus text format, `/healthz` and `/readyz`.
//!
//! Traffic counters live in the kernel, so they go on across restarts of the daemon. No label ever holds a client's
//! address.

mod probes;
mod server;
mod traffic;

pub use probes::ProbeMetrics;
pub use server::{bind, serve};

//! The metrics endpoint: `/metrics` in the Prometheus text format, `/healthz` and `/readyz`.
//!
//! Traffic counters live in the kernel, so they go on across restarts of the daemon. No label ever holds a client's
//! address.

mod exposition;
mod histogram;
mod kept;
mod own;
mod server;
mod traffic;

pub use own::DaemonMetrics;
pub use server::{bind, serve};

//! What the XDP program logs of single packets.
//!
//! It is for finding out what happens to a few packets, not for production: the program is loaded without it unless the
//! log filter asks for its target at level debug.

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use tokio::io::{Interest, unix::AsyncFd};

/// The log target of the program's records: the name of its crate.
const TARGET: &str = "balancer_ebpf";

/// The most detailed level that the program logs at, as the loader hands it over; 0 is none.
pub(super) fn level() -> u8 {
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        Level::Debug as u8
    } else {
        0
    }
}

/// Passes the program's records on to the daemon's log.
pub struct PacketLog(AsyncFd<EbpfLogger<&'static dyn log::Log>>);

impl PacketLog {
    /// Takes the buffer that the records come through. To be called in a Tokio runtime, and once.
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        let logger = EbpfLogger::init(ebpf).context("cannot read what the XDP program logs")?;
        // SAFETY: the logger keeps its buffer, and with it the one descriptor that it ever had, open for as long as it
        // lives.
        let watched = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        Ok(Self(watched?))
    }

    /// Does so until the runtime ends.
    pub async fn run(mut self) {
        while let Ok(mut ready) = self.0.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}

//! Ctrl-C and its like, noticed where the demo can stop without leaving anything behind.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::bail;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Whether somebody wants the demo to end.
#[derive(Default)]
pub(super) struct Interrupt {
    /// The signal that has come; 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Takes note of signals from now on, instead of ending at once.
    pub(super) fn watch() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).map_err(io::Error::other)?;
            flag::register_usize(signal, Arc::clone(&interrupt.signal), number)?;
        }
        Ok(interrupt)
    }

    /// The signal that has come.
    pub(super) fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }

    /// Fails once a signal has come.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.signal() {
            None => Ok(()),
            Some(signal) => bail!("interrupted by signal {signal}"),
        }
    }
}

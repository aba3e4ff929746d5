//! What is being measured, for whoever waits.

use std::io::{self, IsTerminal as _, Write as _};

/// A line on standard error: written anew on a terminal, one under the other elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    title: &'static str,
    watched: bool,
}

impl Progress {
    /// Of the benchmark with this name.
    pub(super) fn new(title: &'static str) -> Self {
        Self {
            title,
            watched: io::stderr().is_terminal(),
        }
    }

    /// Says what is being measured now.
    pub(super) fn show(&self, step: &str) {
        let title = self.title;
        if self.watched {
            eprint!("\r\x1b[K{title}: {step} … ");
            // Whoever cannot be told waits all the same.
            let _gone: io::Result<()> = io::stderr().flush();
        } else {
            eprintln!("{title}: {step}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.watched {
            eprint!("\r\x1b[K");
        }
    }
}

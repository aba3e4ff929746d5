//! Steady traffic in the background: newcomers, one connection each, beside clients that hold their connection.

use std::{
    panic,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    attempt::Attempt,
    clients::{Clients, Regular},
    stage::Service,
};

/// How long the next newcomer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The stream, as long as there is this value.
pub(super) struct Stream {
    arrivals: Receiver<()>,
}

impl Stream {
    /// Waits until `count` newcomers that arrive from now on have come and gone.
    pub(super) fn await_newcomers(&self, count: usize) -> anyhow::Result<()> {
        let _earlier: usize = self.arrivals.try_iter().count();
        // One may be under way.
        for _ in 0..=count {
            let arrival = self.arrivals.recv_timeout(PATIENCE);
            arrival.context("the stream of requests has come to a halt")?;
        }
        Ok(())
    }
}

/// Does something while the stream runs. Returns the newcomers and what came of it.
pub(super) fn during<T>(
    clients: &Clients<'_>,
    regulars: &mut [Regular<'_>],
    something: impl FnOnce(&Stream) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<Attempt>, T)> {
    thread::scope(|scope| {
        let (beat, arrivals) = mpsc::channel();
        let sending = scope.spawn(move || send(clients, regulars, &beat));
        // The stream ends with the value, also where this panics.
        let result = something(&Stream { arrivals });
        let newcomers = sending.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok((newcomers?, result?))
    })
}

/// Sends until nobody listens for arrivals any more.
fn send(clients: &Clients<'_>, regulars: &mut [Regular<'_>], beat: &Sender<()>) -> anyhow::Result<Vec<Attempt>> {
    let mut newcomers = Vec::new();
    loop {
        for service in Service::ALL {
            newcomers.push(clients.visit(clients.newcomer(service))?);
            if beat.send(()).is_err() {
                return Ok(newcomers);
            }
        }
        for regular in &mut *regulars {
            regular.come()?;
        }
    }
}

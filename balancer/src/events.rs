//! Changes of state: the latest ones are kept for those who ask, and the log has a line for each, or for many at one host.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use crate::{
    control::protocol::{Change, Event, EventKind},
    digest::{Digest, Summary},
};

/// The target under which events are logged.
pub const LOG_TARGET: &str = "balancer::events";

/// How many events are kept.
const KEPT: usize = 1_000;

/// The latest events.
pub struct Events {
    latest: Mutex<VecDeque<Event>>,
    digest: Mutex<Digest>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            latest: Mutex::default(),
            digest: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Logs a change and keeps it.
    pub fn record(&self, change: Change) {
        log(&change);
        self.keep(change);
    }

    /// The same for a change at a host, which may have more of the kind: these the log has [together](Self::log_together).
    pub fn record_at(&self, host: IpAddr, change: Change) {
        if lock(&self.digest).admit(host, &change, Instant::now()) {
            log(&change);
        }
        self.keep(change);
    }

    /// Logs what has come together for a while. To be called now and then.
    pub fn log_together(&self) {
        self.log_due(Instant::now());
    }

    /// Logs all that has come together.
    pub fn log_rest(&self) {
        /// Longer than anything waits.
        const LATER: Duration = Duration::from_hours(1);
        self.log_due(Instant::now() + LATER);
    }

    fn log_due(&self, now: Instant) {
        let due = lock(&self.digest).due(now);
        for summary in due {
            log_summary(&summary);
        }
    }

    fn keep(&self, change: Change) {
        let mut latest = lock(&self.latest);
        let number = *self.last.borrow() + 1;
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(Event {
            number,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            change,
        });
        self.last.send_replace(number);
    }

    /// The events after the one with this number, as far as they are kept.
    pub fn after(&self, number: u64) -> Vec<Event> {
        let latest = lock(&self.latest);
        latest.iter().filter(|event| event.number > number).cloned().collect()
    }

    /// Is told the number of the last event whenever there is another one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the line: for people the message alone, which says everything; as JSON with the parts beside it.
fn log(change: &Change) {
    let (kind, cause) = (change.kind.to_string(), change.cause.as_str());
    let (service, backend) = (change.service.as_deref(), change.backend.as_deref());
    let slots_moved = change.effect.map(|effect| effect.slots_moved);
    let flows_moved = change.effect.map(|effect| effect.flows_moved);
    let flows_kept = change.effect.map(|effect| effect.flows_kept);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: LOG_TARGET,
                kind, service, backend, cause, slots_moved, flows_moved, flows_kept,
                "{change}"
            )
        };
    }
    if is_alarming(change.kind) {
        line!(warn);
    } else {
        line!(info);
    }
}

/// Writes the line for many changes.
fn log_summary(summary: &Summary) {
    let Summary {
        host,
        kind,
        backends,
        cause,
        effect,
    } = summary;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: LOG_TARGET,
                kind = %kind, host = %host, backends, cause,
                slots_moved = effect.slots_moved, flows_moved = effect.flows_moved, flows_kept = effect.flows_kept,
                "{summary}"
            )
        };
    }
    if is_alarming(*kind) {
        line!(warn);
    } else {
        line!(info);
    }
}

/// Whether a change of this kind is a bad sign.
const fn is_alarming(kind: EventKind) -> bool {
    match kind {
        EventKind::Down | EventKind::Damped | EventKind::Ejected | EventKind::Unreachable | EventKind::Hot => true,
        EventKind::Up
        | EventKind::Readmitted
        | EventKind::Reachable
        | EventKind::Woken
        | EventKind::Even
        | EventKind::Changed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(cause: usize) -> Change {
        Change {
            kind: EventKind::Changed,
            service: None,
            backend: None,
            cause: cause.to_string(),
            effect: None,
        }
    }

    #[test]
    fn the_latest_events_are_kept_in_their_order() {
        let events = Events::default();
        let watch = events.watch();
        assert!(events.after(0).is_empty());
        for number in 1..=KEPT + 5 {
            events.record(change(number));
        }
        let kept = events.after(0);
        assert_eq!(kept.len(), KEPT);
        let numbers: Vec<_> = kept.iter().map(|event| event.number.to_string()).collect();
        let causes: Vec<_> = kept.iter().map(|event| event.change.cause.clone()).collect();
        assert_eq!(numbers, causes);
        assert_eq!(kept.first().unwrap().number, 6);
        assert_eq!(events.after(KEPT as u64 + 3).len(), 2);
        assert_eq!(*watch.borrow(), KEPT as u64 + 5);
    }
}

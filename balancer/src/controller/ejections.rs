//! Backends that live traffic speaks against: what the data plane has counted of them is looked at now and then.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use balancer_common::abi::Failures;

use super::{Controller, desired};
use crate::{
    config::{Backend, Passive},
    control::protocol::EventKind,
    dataplane::Dataplane,
    health::passive::{Change, Record, judge},
    intent::Endpoint,
};

/// What live traffic has shown of the backends of services that have it watched.
pub(super) struct Ejections {
    began: Instant,
    /// The [generation](Dataplane::generation) of the data plane that `watched` holds for.
    generation: Option<u64>,
    watched: Vec<WatchedService>,
}

struct WatchedService {
    name: String,
    policy: Passive,
    backends: Vec<WatchedBackend>,
}

struct WatchedBackend {
    name: String,
    endpoint: Endpoint,
    counter: Counter,
    /// What had been counted when it was last looked at.
    seen: Failures,
    record: Record,
}

/// Where failures are counted: an index passes to another backend with another incarnation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counter {
    index: u32,
    incarnation: u32,
}

impl Ejections {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            generation: None,
            watched: Vec::new(),
        }
    }
}

impl WatchedBackend {
    /// What has been counted since the last look.
    fn news(&mut self, dataplane: &Dataplane) -> anyhow::Result<Failures> {
        let now = dataplane.failures(self.counter.index)?;
        let news = Failures {
            refused: now.refused.saturating_sub(self.seen.refused),
            unanswered: now.unanswered.saturating_sub(self.seen.unanswered),
        };
        self.seen = now;
        Ok(news)
    }
}

impl Controller {
    /// Takes in what live traffic has shown since the last time. Returns whether there is reason to reconcile beyond a refresh
    /// of the services.
    pub(super) fn watch_traffic(&mut self) -> anyhow::Result<bool> {
        if self.ejections.generation != Some(self.dataplane.generation()) {
            self.find_watched()?;
        }
        let now = self.ejections.began.elapsed();
        let mut changes = Vec::new();
        for service in &mut self.ejections.watched {
            let mut each = Vec::new();
            for backend in &mut service.backends {
                let news = backend.news(&self.dataplane)?;
                each.push((&mut backend.record, news));
            }
            for (number, change) in judge(&mut each, &service.policy, now) {
                let backend = service.backends[number].name.clone();
                changes.push((service.name.clone(), backend, change, service.policy.fail_timeout));
            }
        }
        let mut beyond = false;
        for (service, backend, change, fail_timeout) in changes {
            beyond |= self.take_change(service, backend, &change, fail_timeout);
        }
        Ok(beyond)
    }

    fn take_change(&mut self, service: String, backend: String, change: &Change, fail_timeout: Duration) -> bool {
        let timeout = humantime::format_duration(fail_timeout);
        let (kind, cause) = match change {
            Change::Ejected(cause) => (EventKind::Ejected, format!("{cause} within {timeout}")),
            Change::Readmitted => (EventKind::Readmitted, format!("{timeout} are over, it is tried again")),
        };
        let mut services = self.intent.running.services.iter();
        let starts_slowly = services.any(|other| other.name == service && !other.slow_start.is_zero());
        let key = (service, backend);
        self.knowledge
            .set_ejected(key.clone(), matches!(change, Change::Ejected(_)));
        self.note_judged(&key);
        self.expect(kind, key, cause);
        // A slow start follows who serves.
        starts_slowly
    }

    /// Finds where the data plane counts, and goes on from what is known.
    fn find_watched(&mut self) -> anyhow::Result<()> {
        let before = std::mem::take(&mut self.ejections.watched);
        let mut before: HashMap<_, _> = before
            .into_iter()
            .flat_map(|WatchedService { name, backends, .. }| {
                backends
                    .into_iter()
                    .map(move |backend| ((name.clone(), backend.endpoint), backend))
            })
            .collect();
        let known = &self.dataplane.state().index;
        let mut watched = Vec::new();
        for service in &self.intent.running.services {
            let Some(policy) = service.passive else {
                continue;
            };
            let mut backends = Vec::new();
            for backend in &service.backends {
                let before = before.remove(&(service.name.clone(), backend.into()));
                if let Some(index) = desired::backend_index(known, service, backend) {
                    backends.push(self.watch(backend, index, before)?);
                }
            }
            watched.push(WatchedService {
                name: service.name.clone(),
                policy,
                backends,
            });
        }
        self.ejections.watched = watched;
        self.ejections.generation = Some(self.dataplane.generation());
        Ok(())
    }

    fn watch(&self, backend: &Backend, index: u32, before: Option<WatchedBackend>) -> anyhow::Result<WatchedBackend> {
        let entry = self.dataplane.state().backends.get(&index);
        let counter = Counter {
            index,
            incarnation: entry.map_or(0, |entry| entry.record.incarnation),
        };
        let seen = match &before {
            Some(before) if before.counter == counter => before.seen,
            // What was counted before this daemon came is history.
            _ => self.dataplane.failures(index)?,
        };
        Ok(WatchedBackend {
            name: backend.name.clone(),
            endpoint: backend.into(),
            counter,
            seen,
            record: before.map(|before| before.record).unwrap_or_default(),
        })
    }
}

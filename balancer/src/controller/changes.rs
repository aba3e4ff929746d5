//! Changes of health and reach: they are told once the data plane has followed, with what that did.

use std::{collections::HashMap, mem, net::IpAddr};

use balancer_common::{
    abi::Owner,
    affinity::{Memory, Standing, standing},
};

use super::{BackendKey, Controller, desired};
use crate::{
    control::protocol::{Change, Effect, EventKind},
    dataplane::{Division, FlowCounts},
    health::{Health, Verdict},
    neighbors::{Unreachable, Way},
};

/// A change that the data plane has not followed yet.
#[derive(Debug)]
pub(super) struct Pending {
    kind: EventKind,
    backend: BackendKey,
    cause: String,
}

/// A change that the data plane has followed, and that is told when the flows have been counted that it concerns.
struct Followed {
    change: Pending,
    shift: Option<Shift>,
}

/// What a change has done to a table, and does to flows.
struct Shift {
    owner: Owner,
    /// The backend's address.
    host: IpAddr,
    service: u32,
    slots_moved: u64,
    /// Whether the backend's flows leave it.
    leave: bool,
}

impl Controller {
    /// Notes a verdict. Returns whether there is reason to reconcile beyond a refresh of the service.
    pub(super) fn take_verdict(&mut self, verdict: Verdict<BackendKey>) -> bool {
        let Verdict {
            key,
            health,
            damped,
            cause,
        } = verdict;
        // It may have been on its way while its backend was removed.
        let service = self
            .intent
            .running
            .services
            .iter()
            .find(|service| service.name == key.0);
        let backend = service.and_then(|service| service.backends.iter().find(|backend| backend.name == key.1));
        let (Some(service), Some(backend)) = (service, backend) else {
            return false;
        };
        // A slow start follows who serves, and a newcomer may now be admitted.
        let alone = service.slow_start.is_zero() && !self.knowledge.is_newcomer(service, backend);
        let kind = match health {
            _ if damped => EventKind::Damped,
            Health::Up => EventKind::Up,
            Health::Down | Health::Unknown => EventKind::Down,
        };
        if health == Health::Down && !damped && self.knowledge.note_down(service, backend) {
            self.downs_changed = true;
        }
        if health == Health::Up {
            self.woken.forget(&key);
        }
        self.knowledge.set_health(key.clone(), health);
        self.note_judged(&key);
        self.expect(kind, key, cause);
        !alone
    }

    /// Has the data plane follow what has become known of a backend's health.
    pub(super) fn note_judged(&mut self, (service, backend): &BackendKey) {
        self.judged.entry(service.clone()).or_default().push(backend.clone());
    }

    /// Has a change told after the next reconciliation.
    pub(super) fn expect(&mut self, kind: EventKind, backend: BackendKey, cause: String) {
        self.pending.push(Pending { kind, backend, cause });
    }

    /// Notes whether packets can leave the host for a destination. That the kernel still asks says nothing new.
    pub(super) fn note_way(&mut self, destination: IpAddr, way: &Result<Way, Unreachable>) {
        let (kind, cause) = match way {
            Err(Unreachable::Resolving { .. }) => return,
            Err(unreachable) if self.cut_off.insert(destination) => (EventKind::Unreachable, unreachable.to_string()),
            Ok(_) if self.cut_off.remove(&destination) => (EventKind::Reachable, "its next hop is known".to_owned()),
            Ok(_) | Err(_) => return,
        };
        let concerned: Vec<_> = desired::backends(&self.intent.running)
            .filter(|(_, backend)| backend.address == destination)
            .map(|(service, backend)| (service.name.clone(), backend.name.clone()))
            .collect();
        for backend in concerned {
            self.expect(kind, backend, cause.clone());
        }
    }

    /// Tells what an operator has changed.
    pub(super) fn tell_order(&self, service: Option<String>, message: &str) {
        self.events.record(Change {
            kind: EventKind::Changed,
            service,
            backend: None,
            cause: message.to_owned(),
            effect: None,
        });
    }

    /// Has told what has changed, now that the data plane has followed.
    pub(super) fn tell_changes(&mut self) {
        if !self.behind.is_empty() {
            return;
        }
        let pending = mem::take(&mut self.pending);
        let before = self.dataplane.take_earlier_divisions();
        if pending.is_empty() {
            return;
        }
        let moving = pending.iter().any(|change| moves_clients(change.kind));
        let indices = if moving {
            self.indices_of(&pending)
        } else {
            HashMap::new()
        };
        let followed = pending.into_iter().enumerate().map(|(number, change)| {
            let index = indices.get(&number).filter(|_| moves_clients(change.kind));
            let shift = index.and_then(|&index| self.shift(index, &before));
            Followed { change, shift }
        });
        let followed: Vec<_> = followed.collect();
        // What comes after others that wait waits too.
        if moving || self.reader.is_busy() {
            self.count(|controller, census| match census {
                Ok(census) => controller.record(followed, Some(&census.flows)),
                Err(error) => {
                    tracing::error!("what follows from a change is not known: {error:#}");
                    controller.record(followed, None);
                }
            });
        } else {
            self.record(followed, None);
        }
    }

    /// Records changes, with what they do to the flows that were counted.
    fn record(&self, changes: Vec<Followed>, flows: Option<&FlowCounts>) {
        let of_services = flows.map(|flows| self.flows_of_services(flows)).unwrap_or_default();
        for Followed { change, shift } in changes {
            let (service, backend) = change.backend;
            let host = shift.as_ref().map(|shift| shift.host);
            let effect = shift.zip(flows).map(|(shift, flows)| {
                let all = of_services.get(&shift.service).copied().unwrap_or(0);
                let moved = if shift.leave { flows.of(shift.owner) } else { 0 };
                Effect {
                    slots_moved: shift.slots_moved,
                    flows_moved: moved,
                    flows_kept: all.saturating_sub(moved),
                }
            });
            let change = Change {
                kind: change.kind,
                service: Some(service),
                backend: Some(backend),
                cause: change.cause,
                effect,
            };
            match host {
                Some(host) => self.events.record_at(host, change),
                None => self.events.record(change),
            }
        }
    }

    /// What a change has done that concerns the backend with this index, given what replaced tables gave to each backend.
    fn shift(&self, index: u32, before: &HashMap<u32, Division>) -> Option<Shift> {
        let record = self.dataplane.state().backends.get(&index)?.record;
        let service = self.dataplane.state().services.get(&record.service)?.record?;
        let slots = self.dataplane.slots(record.service, index);
        // A table that has not been published anew is as it was.
        let earlier = before
            .get(&record.service)
            .map_or(slots, |division| division.slots_of(index));
        Some(Shift {
            owner: self.dataplane.owner(index)?,
            host: record.address.into(),
            service: record.service,
            slots_moved: slots.abs_diff(earlier).into(),
            leave: standing(Memory::Flow, record.flags, service.when_down()) == Standing::Gone,
        })
    }

    fn flows_of_services(&self, flows: &FlowCounts) -> HashMap<u32, u64> {
        let mut of_services = HashMap::new();
        for (owner, count) in &flows.by_backend {
            if let Some(entry) = self.dataplane.state().backends.get(&owner.backend) {
                *of_services.entry(entry.record.service).or_default() += count;
            }
        }
        of_services
    }

    /// The indices that the data plane knows the backends of changes by, by the number of the change.
    fn indices_of(&self, changes: &[Pending]) -> HashMap<usize, u32> {
        let mut concerned: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (number, Pending { backend, .. }) in changes.iter().enumerate() {
            concerned.entry((&backend.0, &backend.1)).or_default().push(number);
        }
        let known = &self.dataplane.state().index;
        let mut indices = HashMap::new();
        for (service, backend) in desired::backends(&self.intent.running) {
            if let Some(numbers) = concerned.get(&(&*service.name, &*backend.name))
                && let Some(index) = desired::backend_index(known, service, backend)
            {
                indices.extend(numbers.iter().map(|number| (*number, index)));
            }
        }
        indices
    }
}

/// Whether a change of this kind may give clients another backend.
const fn moves_clients(kind: EventKind) -> bool {
    match kind {
        EventKind::Up
        | EventKind::Down
        | EventKind::Ejected
        | EventKind::Readmitted
        | EventKind::Reachable
        | EventKind::Unreachable => true,
        EventKind::Damped | EventKind::Woken | EventKind::Hot | EventKind::Even | EventKind::Changed => false,
    }
}

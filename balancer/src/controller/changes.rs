//! Changes of health and reach: they are told once the data plane has followed, with what that did.

use std::{collections::HashMap, mem, net::IpAddr};

use balancer_common::affinity::{Memory, Standing, standing};

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

/// Flows and tables after a change.
struct Survey {
    flows: FlowCounts,
    /// Flows by service index.
    of_services: HashMap<u32, u64>,
    /// By service index: what tables that have been replaced gave to each backend.
    before: HashMap<u32, Division>,
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
        let found = desired::backends(&self.intent.running).find(|(of, other)| of.name == key.0 && other.name == key.1);
        let Some((service, backend)) = found else {
            return false;
        };
        // A slow start follows who serves, and a newcomer may now be admitted.
        let alone = service.slow_start.is_zero() && !self.knowledge.is_newcomer(service, backend);
        if alone {
            self.refreshed.insert(key.0.clone());
        }
        let kind = match health {
            _ if damped => EventKind::Damped,
            Health::Up => EventKind::Up,
            Health::Down | Health::Unknown => EventKind::Down,
        };
        if health == Health::Up {
            self.woken.forget(&key);
        }
        self.knowledge.set_health(key.clone(), health);
        self.expect(kind, key, cause);
        !alone
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

    /// Tells what has changed, now that the data plane has followed.
    pub(super) fn tell_changes(&mut self) {
        let pending = mem::take(&mut self.pending);
        let before = self.dataplane.take_earlier_divisions();
        if pending.is_empty() {
            return;
        }
        let survey = if pending.iter().any(|change| moves_clients(change.kind)) {
            self.survey(before)
        } else {
            None
        };
        let indices = survey.as_ref().map(|_| self.indices_of(&pending)).unwrap_or_default();
        for (number, change) in pending.into_iter().enumerate() {
            let index = indices.get(&number).copied();
            let effect = survey
                .as_ref()
                .filter(|_| moves_clients(change.kind))
                .and_then(|survey| self.effect(index?, survey));
            let (service, backend) = change.backend;
            self.events.record(Change {
                kind: change.kind,
                service: Some(service),
                backend: Some(backend),
                cause: change.cause,
                effect,
            });
        }
    }

    fn survey(&self, before: HashMap<u32, Division>) -> Option<Survey> {
        match self.dataplane.flow_counts() {
            Ok(flows) => Some(Survey {
                of_services: self.flows_of_services(&flows),
                flows,
                before,
            }),
            Err(error) => {
                tracing::error!("what follows from a change is not known: {error:#}");
                None
            }
        }
    }

    fn effect(&self, index: u32, survey: &Survey) -> Option<Effect> {
        let record = self.dataplane.state().backends.get(&index)?.record;
        let service = self.dataplane.state().services.get(&record.service)?.record?;
        let own = survey.flows.by_backend.get(&index).copied().unwrap_or(0);
        let all = survey.of_services.get(&record.service).copied().unwrap_or(0);
        let leave = standing(Memory::Flow, record.flags, service.when_down()) == Standing::Gone;
        let slots = self.dataplane.slots(record.service, index);
        // A table that has not been published anew is as it was.
        let before = survey.before.get(&record.service);
        let earlier = before.map_or(slots, |division| division.slots_of(index));
        let moved = if leave { own } else { 0 };
        Some(Effect {
            slots_moved: slots.abs_diff(earlier).into(),
            flows_moved: moved,
            flows_kept: all.saturating_sub(moved),
        })
    }

    fn flows_of_services(&self, flows: &FlowCounts) -> HashMap<u32, u64> {
        let mut of_services = HashMap::new();
        for (backend, count) in &flows.by_backend {
            if let Some(entry) = self.dataplane.state().backends.get(backend) {
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
        let known = self.dataplane.state().index();
        let mut indices = HashMap::new();
        for (service, backend) in desired::backends(&self.intent.running) {
            if let Some(numbers) = concerned.get(&(&*service.name, &*backend.name))
                && let Some(index) = desired::backend_index(&known, service, backend)
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

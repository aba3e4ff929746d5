//! How the data plane follows what is known and wanted.
//!
//! A change of health shows in the records of the backends at once, and packets go elsewhere from then on. The tables that it
//! changes follow one by one, so that a verdict on another backend waits for one of them at most.

use std::{collections::HashSet, mem, time::Instant};

use super::{Controller, RETRY, desired};
use crate::{
    dataplane::Dataplane,
    reconcile::{self, Desired, Operation, Refresh},
};

impl Controller {
    /// Makes the data plane hold what it should. Returns whether anything had to change.
    pub fn reconcile(&mut self) -> anyhow::Result<bool> {
        self.behind.clear();
        self.lay_probe_path();
        let (config, now) = (&self.intent.running, Instant::now());
        self.knowledge.admit_newcomers(config);
        let mut desired = desired::desired(config, &self.knowledge, self.timer);
        self.slow_start.follow(config, &desired, now);
        self.slow_start.scale(config, &mut desired, now);
        let reconciled = self.reach(&desired);
        let retry = reconciled.is_err().then(|| now + RETRY);
        let due = [self.slow_start.next_change(&self.intent.running, now), retry];
        self.alarm.set(due.into_iter().flatten().min());
        reconciled
    }

    /// Has the data plane follow if there is reason to. It comes before every answer: who is told that a backend is down relies
    /// on it.
    pub(super) fn catch_up(&mut self, changed: &mut bool) {
        if let Err(error) = self.follow(mem::take(changed)) {
            tracing::error!("the data plane could not be changed: {error:#}");
        }
        self.keep_downs();
        self.tell_changes();
    }

    fn follow(&mut self, changed: bool) -> anyhow::Result<()> {
        let names = mem::take(&mut self.refreshed);
        let is_enough = (names.is_empty() || self.refresh(&names)) && !changed;
        // It looks at everything, and is tried again if it fails.
        if !is_enough || self.publish_next().is_err() {
            self.reconcile()?;
        }
        Ok(())
    }

    /// Notes in the records of these services' backends how they are. Returns whether that succeeded, and nothing but their
    /// health has changed; the tables that follow from it are then still behind.
    fn refresh(&mut self, names: &HashSet<String>) -> bool {
        let config = &self.intent.running;
        let services = config.services.iter().filter(|service| names.contains(&service.name));
        let services = services.map(|service| desired::desired_service(config, service, &self.knowledge, self.timer));
        let desired = Desired {
            services: services.collect(),
        };
        let known = &self.dataplane.state().services;
        let is_other = |index: &u32| known.get(index).is_some_and(|service| !names.contains(&service.name));
        self.behind.retain(|index, _| is_other(index));
        let Some(Refresh { records, tables }) = reconcile::refresh(self.dataplane.state(), &desired) else {
            return false;
        };
        self.behind.extend(tables);
        self.apply_all(records, Dataplane::apply_in_place).is_ok()
    }

    /// Publishes one of the tables that are behind.
    fn publish_next(&mut self) -> anyhow::Result<()> {
        let next = self.behind.pop_first();
        let operations = next.map(|table| Operation::PublishTables { tables: vec![table] });
        self.apply_all(operations.into_iter().collect(), Dataplane::apply_in_place)?;
        Ok(())
    }

    fn reach(&mut self, desired: &Desired) -> anyhow::Result<bool> {
        let operations = reconcile::diff(self.dataplane.state(), desired, self.dataplane.limits())?;
        self.apply_all(operations, Dataplane::apply)
    }

    fn apply_all(
        &mut self,
        operations: Vec<Operation>,
        way: fn(&mut Dataplane, Vec<Operation>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        if operations.is_empty() {
            return Ok(false);
        }
        let applied = way(&mut self.dataplane, operations);
        for duration in self.dataplane.take_build_durations() {
            self.metrics.observe_table_build(duration);
        }
        applied.map(|()| true)
    }
}

//! How the data plane follows what is known and wanted.
//!
//! What is known of a backend's health shows in its record at once, and packets go by it from then on. The tables of its services
//! follow one by one, so that a verdict on another backend waits for one of them at most.

use std::{mem, time::Instant};

use anyhow::Context as _;

use super::{Controller, RETRY, desired, standing::standings};
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
        let stood = self.stand();
        if changed || stood.is_err() || self.refresh_next().is_err() {
            // It looks at everything, and is tried again if it fails.
            self.reconcile()?;
        }
        Ok(())
    }

    /// Notes in the records of backends what has become known of their health. The tables of their services are then behind.
    fn stand(&mut self) -> anyhow::Result<()> {
        let judged = mem::take(&mut self.judged);
        let mut operations = Vec::new();
        for service in &self.intent.running.services {
            let Some(names) = judged.get(&service.name) else {
                continue;
            };
            let standings = standings(&self.knowledge.circumstances(service), service.panic_threshold);
            let backends = service.backends.iter().zip(standings);
            let concerned = backends.filter(|(backend, _)| names.contains(&backend.name));
            operations.extend(concerned.filter_map(|(backend, (_, flags))| {
                let (address, port) = desired::identity(backend);
                reconcile::stand(self.dataplane.state(), &service.name, address, port, flags)
            }));
        }
        self.behind.extend(judged.into_keys());
        self.apply_all(operations, Dataplane::apply_in_place)?;
        Ok(())
    }

    /// Has the data plane follow in one of the services that are behind.
    fn refresh_next(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.behind.pop_first() else {
            return Ok(());
        };
        let config = &self.intent.running;
        let services = config.services.iter().filter(|service| service.name == name);
        let services = services.map(|service| desired::desired_service(config, service, &self.knowledge, self.timer));
        let desired = Desired {
            services: services.collect(),
        };
        let refresh = reconcile::refresh(self.dataplane.state(), &desired);
        let Refresh { records, tables } = refresh.context("more than the health of backends has changed")?;
        let publish = (!tables.is_empty()).then_some(Operation::PublishTables { tables });
        self.apply_all(records.into_iter().chain(publish).collect(), Dataplane::apply_in_place)?;
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

//! Who follows the configuration besides the data plane.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::{
    BackendKey,
    desired::{backends, targets},
    knowledge::Knowledge,
};
use crate::{
    config::Config,
    health::Checker,
    metrics::DaemonMetrics,
    neighbors::{self, Interface, Neighbors},
    reconcile::State,
};

/// The health checker, the watcher of next hops, and what counts probes.
pub struct Followers {
    checker: Checker<BackendKey>,
    neighbors: Arc<Neighbors>,
    metrics: Arc<DaemonMetrics>,
    /// Where they run their tasks.
    runtime: Handle,
}

impl Followers {
    /// To be called in the Tokio runtime that their tasks are to run in.
    pub fn new(checker: Checker<BackendKey>, neighbors: Arc<Neighbors>, metrics: Arc<DaemonMetrics>) -> Self {
        Self {
            checker,
            neighbors,
            metrics,
            runtime: Handle::current(),
        }
    }

    /// Has the backends' next hops found.
    pub(super) fn watch(&self, config: &Config) {
        self.neighbors.watch(destinations(config));
    }

    /// Has the backends probed. Those that are probed already go on undisturbed.
    pub(super) fn probe(&mut self, config: &Config, knowledge: &Knowledge, state: &State) {
        let _context = self.runtime.enter();
        let targets = targets(config, knowledge, state);
        let probed = targets.iter().map(|target| target.key.clone());
        self.metrics.follow(&probed.collect());
        self.checker.reconcile(targets);
    }

    /// The configured interfaces as the kernel describes them. Not to be called on the runtime's own threads.
    pub(super) fn interfaces(&self, config: &Config) -> anyhow::Result<Vec<Interface>> {
        let present = self.runtime.block_on(neighbors::interfaces())?;
        present
            .named(&config.dataplane.interfaces)
            .context("dataplane.interfaces")
    }
}

/// The addresses whose next hops the data plane needs.
pub(super) fn destinations(config: &Config) -> HashSet<IpAddr> {
    backends(config).map(|(_, backend)| backend.address).collect()
}

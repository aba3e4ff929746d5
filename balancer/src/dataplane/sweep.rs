//! Forgetting what is over.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use balancer_common::{
    abi::{ClientKey, Load, Owner, Tick},
    affinity::Stage,
};

use super::{Census, Dataplane, FlowCounts, Memory};
use crate::maglev::Slots;

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were over and have been forgotten.
    pub flows: u64,
    /// Clients that were away for too long and have been forgotten.
    pub clients: u64,
    /// Those that are left.
    pub live: Census,
    /// What of it the program is to be told.
    findings: Findings,
}

/// What follows from a sweep for the maps that the program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Flows of the backends whose flows the program counts.
    loads: HashMap<Owner, u64>,
    /// By service index: slots on which a flow belongs to another backend than the slot's.
    pub(super) disputed: HashMap<u32, HashSet<u32>>,
    /// By service index: the tables that this is about.
    pub(super) slots: HashMap<u32, Arc<Slots>>,
    /// When the sweep began.
    pub(super) began: Tick,
}

impl Memory {
    /// Forgets flows and clients that are over. What the program is to be told of it, [`Dataplane::settle`] does.
    pub fn sweep(self) -> anyhow::Result<Swept> {
        let mut flows = FlowCounts::default();
        let mut tally = self.judge.tally();
        let mut disputed: HashMap<u32, HashSet<u32>> = HashMap::new();
        let mut loads = self.judge.counted_backends();
        let forgotten = self.stores.flows.remove(|key, flow| {
            if !self.judge.is_live(key, flow) {
                return true;
            }
            tally.add(flow.owner);
            if let Some(slot) = self.judge.disputed_slot(key, flow) {
                disputed.entry(key.service).or_default().insert(slot);
            }
            if flow.phase.stage() != Stage::Closed
                && let Some(count) = loads.get_mut(&flow.owner)
            {
                *count += 1;
            }
            false
        });
        tally.finish(&mut flows);
        Ok(Swept {
            flows: forgotten,
            clients: self.flush_clients(|key: &ClientKey, client| !self.judge.is_known(key, client))?,
            live: Census {
                flows,
                clients: self.count_clients()?,
            },
            findings: Findings {
                loads,
                disputed,
                began: self.judge.now(),
                slots: self.judge.into_slots(),
            },
        })
    }
}

impl Dataplane {
    /// Sweeps and settles at once.
    pub fn sweep(&mut self) -> anyhow::Result<Swept> {
        let swept = self.memory()?.sweep()?;
        self.settle(&swept)?;
        Ok(swept)
    }

    /// Corrects what the program counts, and tells the tables which slots need their marks no longer.
    pub fn settle(&mut self, swept: &Swept) -> anyhow::Result<()> {
        // The program misses flows that are forgotten or go to another backend.
        for (&owner, &flows) in &swept.findings.loads {
            let load = self.maps.loads.get(owner.backend)?;
            if load.flows != flows && self.owner(owner.backend) == Some(owner) {
                self.maps.loads.set(owner.backend, &Load { flows, ..load })?;
            }
        }
        let timeouts = |service| Some(self.state.services.get(&service)?.record?.timeout);
        self.maps.tables.settle(&swept.findings, timeouts)
    }
}

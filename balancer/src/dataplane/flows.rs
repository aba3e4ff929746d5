//! Reading and clearing what the data plane remembers of flows and clients.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use balancer_common::{
    abi::{Client, ClientKey, Flow, FlowKey, Load, Owner},
    affinity::Stage,
};

use super::{Dataplane, judge::Judge, syscall};

/// How many flows and clients are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Entries of the table, those of flows that are over included.
    pub entries: u64,
    /// Flows in all.
    pub total: u64,
    /// Flows by backend index, of those backends that have any.
    pub by_backend: HashMap<u32, u64>,
}

impl FlowCounts {
    fn count(&mut self, flow: &Flow) {
        self.total += 1;
        *self.by_backend.entry(flow.owner.backend).or_default() += 1;
    }
}

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were over and have been forgotten.
    pub flows: u64,
    /// Clients that were away for too long and have been forgotten.
    pub clients: u64,
    /// The flows that are left.
    pub live: FlowCounts,
}

impl Dataplane {
    /// Counts the remembered flows by reading the whole table: some milliseconds for every hundred thousand.
    pub fn flow_counts(&self) -> anyhow::Result<FlowCounts> {
        let mut counts = FlowCounts::default();
        let judge = Judge::new(self, self.now()?)?;
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            counts.entries += 1;
            if judge.is_live(key, flow) {
                counts.count(flow);
            }
        })
        .context("cannot read the flow table")?;
        Ok(counts)
    }

    /// Calls `visit` with every remembered flow.
    pub fn for_each_flow(&self, mut visit: impl FnMut(&FlowKey, &Flow)) -> anyhow::Result<()> {
        let judge = Judge::new(self, self.now()?)?;
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            if judge.is_live(key, flow) {
                visit(key, flow);
            }
        })
        .context("cannot read the flow table")
    }

    /// Calls `visit` with every remembered client.
    pub fn for_each_client(&self, mut visit: impl FnMut(&ClientKey, &Client)) -> anyhow::Result<()> {
        let judge = Judge::new(self, self.now()?)?;
        syscall::for_each(self.maps.clients.fd(), |key: &ClientKey, client: &Client| {
            if judge.is_known(key, client) {
                visit(key, client);
            }
        })
        .context("cannot read the client table")
    }

    /// Forgets flows and clients that are over, and tells the tables which slots need their marks no longer.
    pub fn sweep(&mut self) -> anyhow::Result<Swept> {
        let now = self.now()?;
        let judge = Judge::new(self, now)?;
        let mut over = Vec::new();
        let mut live = FlowCounts::default();
        let mut disputed: HashMap<u32, HashSet<u32>> = HashMap::new();
        let mut loads = judge.counted_backends();
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            if !judge.is_live(key, flow) {
                over.push(*key);
                return;
            }
            live.count(flow);
            if let Some(slot) = judge.disputed_slot(key, flow) {
                disputed.entry(key.service).or_default().insert(slot);
            }
            if flow.phase.stage() != Stage::Closed
                && let Some(count) = loads.get_mut(&flow.owner.backend)
            {
                *count += 1;
            }
        })
        .context("cannot read the flow table")?;
        let mut away = Vec::new();
        syscall::for_each(self.maps.clients.fd(), |key: &ClientKey, client: &Client| {
            if !judge.is_known(key, client) {
                away.push(*key);
            }
        })
        .context("cannot read the client table")?;
        let swept = Swept {
            flows: syscall::delete_all(self.maps.flows.fd(), &over)?,
            clients: syscall::delete_all(self.maps.clients.fd(), &away)?,
            live,
        };
        self.count_removed(swept.flows)?;
        self.correct_loads(loads)?;
        let timeouts = |service| Some(self.state.services.get(&service)?.record?.timeout);
        self.maps.tables.settle(&disputed, now, timeouts)?;
        Ok(swept)
    }

    /// Corrects the program's counts, which miss flows that are forgotten or go to another backend.
    fn correct_loads(&mut self, counts: HashMap<u32, u64>) -> anyhow::Result<()> {
        for (backend, flows) in counts {
            let load = self.maps.loads.get(&backend, 0)?;
            if load.flows != flows {
                self.maps.loads.set(backend, Load { flows, ..load }, 0)?;
            }
        }
        Ok(())
    }

    /// Forgets the flows, and with them what `clients` says, for which `chosen` holds. Returns how many flows.
    pub fn flush_flows(&mut self, chosen: impl Fn(&FlowKey, &Flow) -> bool) -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            if chosen(key, flow) {
                keys.push(*key);
            }
        })
        .context("cannot read the flow table")?;
        let removed = syscall::delete_all(self.maps.flows.fd(), &keys)?;
        self.count_removed(removed)?;
        Ok(removed)
    }

    /// Forgets the clients for which `chosen` holds. Returns how many.
    pub fn flush_clients(&mut self, chosen: impl Fn(&ClientKey, &Client) -> bool) -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        syscall::for_each(self.maps.clients.fd(), |key: &ClientKey, client: &Client| {
            if chosen(key, client) {
                keys.push(*key);
            }
        })
        .context("cannot read the client table")?;
        Ok(syscall::delete_all(self.maps.clients.fd(), &keys)?)
    }

    /// Gives the remembered clients of one backend to another. Returns how many.
    pub fn migrate_clients(&mut self, from: u32, to: u32) -> anyhow::Result<u64> {
        let (from, to) = (self.owner(from), self.owner(to));
        let mut keys = Vec::new();
        let mut clients = Vec::new();
        self.for_each_client(|key, client| {
            if Some(client.owner) == from
                && let Some(owner) = to
            {
                keys.push(*key);
                clients.push(Client { owner, ..*client });
            }
        })?;
        syscall::update_all(self.maps.clients.fd(), &keys, &clients).context("cannot write the client table")?;
        Ok(keys.len() as u64)
    }

    /// Gives the remembered flows of one backend to another. Returns how many.
    pub fn migrate_flows(&mut self, from: u32, to: u32) -> anyhow::Result<u64> {
        let (from, to) = (self.owner(from), self.owner(to));
        let mut keys = Vec::new();
        let mut flows = Vec::new();
        self.for_each_flow(|key, flow| {
            if Some(flow.owner) == from
                && let Some(owner) = to
            {
                keys.push(*key);
                flows.push(Flow { owner, ..*flow });
            }
        })?;
        syscall::update_all(self.maps.flows.fd(), &keys, &flows).context("cannot write the flow table")?;
        Ok(keys.len() as u64)
    }

    fn owner(&self, backend: u32) -> Option<Owner> {
        let entry = self.state.backends.get(&backend)?;
        Some(Owner {
            backend,
            incarnation: entry.record.incarnation,
        })
    }

    /// How many flows the kernel has forgotten to make room for others, given those that there are: those that were added
    /// and are neither there any more nor have been removed. Never less than what an earlier call returned.
    pub fn evictions(&mut self, counts: &FlowCounts) -> anyhow::Result<u64> {
        let added: u64 = self.maps.flows_added.get(&0, 0)?.iter().sum();
        let removed = self.maps.flows_removed.get(&0, 0)?;
        self.evictions = self.evictions.max(added.saturating_sub(counts.entries + removed));
        Ok(self.evictions)
    }

    fn count_removed(&mut self, flows: u64) -> anyhow::Result<()> {
        let removed = self.maps.flows_removed.get(&0, 0)?;
        self.maps.flows_removed.set(0, removed + flows, 0)?;
        Ok(())
    }
}

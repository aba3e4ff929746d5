//! What the data plane remembers of flows and clients: read, cleared and given to others, on any thread.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use aya::maps::MapData;
use balancer_common::abi::{AffinityKind, Client, ClientKey, Flow, FlowKey, Owner};

use super::{Dataplane, flow_table::FlowTable, judge::Judge, syscall};

/// Handles of what is remembered. The table of clients is not typed: it is read many elements at a time.
pub(super) struct Stores {
    pub(super) flows: FlowTable,
    pub(super) clients: MapData,
}

/// What the data plane remembers, judged by the services and backends that there were when this was made. Reading it takes
/// a while, so it is not bound to the thread that owns the data plane.
pub struct Memory {
    pub(super) stores: Arc<Stores>,
    pub(super) judge: Judge,
}

/// How many flows are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Entries of the table, those of flows that are over included.
    pub entries: u64,
    /// Flows in all.
    pub total: u64,
    /// Flows by backend, of those that have any.
    pub by_backend: HashMap<Owner, u64>,
}

/// How many flows and clients are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Flows.
    pub flows: FlowCounts,
    /// Clients by backend, of those that have any.
    pub clients: HashMap<Owner, u64>,
}

impl FlowCounts {
    /// Flows of a backend.
    pub fn of(&self, owner: Owner) -> u64 {
        self.by_backend.get(&owner).copied().unwrap_or(0)
    }
}

impl Dataplane {
    /// What is remembered, judged by what is served at this moment.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        Ok(Memory {
            stores: Arc::clone(&self.maps.memory),
            judge: Judge::new(self, self.now()?)?,
        })
    }

    /// How a backend is remembered.
    pub fn owner(&self, backend: u32) -> Option<Owner> {
        let entry = self.state.backends.get(&backend)?;
        Some(Owner {
            backend,
            incarnation: entry.record.incarnation,
        })
    }
}

impl Memory {
    /// Counts flows and clients by reading both tables whole.
    pub fn census(&self) -> anyhow::Result<Census> {
        Ok(Census {
            flows: self.count_flows(),
            clients: self.count_clients()?,
        })
    }

    /// Counts the flows.
    pub fn count_flows(&self) -> FlowCounts {
        let mut counts = FlowCounts::default();
        let mut tally = self.judge.tally();
        self.for_each_entry(|key, flow| {
            counts.entries += 1;
            if self.judge.is_live(key, flow) {
                tally.add(flow.owner);
            }
        });
        tally.finish(&mut counts);
        counts
    }

    /// Counts the clients. Where none are remembered, the table need not be read.
    pub(super) fn count_clients(&self) -> anyhow::Result<HashMap<Owner, u64>> {
        let mut tally = self.judge.tally();
        if self
            .judge
            .any_service(|service| service.affinity() == AffinityKind::ClientIp)
        {
            self.for_each_client(|_, client| tally.add(client.owner))?;
        }
        Ok(tally.by_owner().collect())
    }

    /// Calls `visit` with every entry of the flow table, those of flows that are over included.
    pub(super) fn for_each_entry(&self, visit: impl FnMut(&FlowKey, &Flow)) {
        self.stores.flows.for_each(visit);
    }

    /// Calls `visit` with every remembered flow.
    pub fn for_each_flow(&self, mut visit: impl FnMut(&FlowKey, &Flow)) {
        self.for_each_entry(|key, flow| {
            if self.judge.is_live(key, flow) {
                visit(key, flow);
            }
        });
    }

    /// Calls `visit` with every remembered client.
    pub fn for_each_client(&self, mut visit: impl FnMut(&ClientKey, &Client)) -> anyhow::Result<()> {
        syscall::for_each(self.stores.clients.fd(), |key: &ClientKey, client: &Client| {
            if self.judge.is_known(key, client) {
                visit(key, client);
            }
        })
        .context("cannot read the client table")
    }

    /// Forgets the flows for which `chosen` holds. Returns how many.
    pub fn flush_flows(&self, chosen: impl Fn(&FlowKey, &Flow) -> bool) -> u64 {
        self.stores.flows.remove(chosen)
    }

    /// Forgets the clients for which `chosen` holds. Returns how many.
    pub fn flush_clients(&self, chosen: impl Fn(&ClientKey, &Client) -> bool) -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        syscall::for_each(self.stores.clients.fd(), |key: &ClientKey, client: &Client| {
            if chosen(key, client) {
                keys.push(*key);
            }
        })
        .context("cannot read the client table")?;
        Ok(syscall::delete_all(self.stores.clients.fd(), &keys)?)
    }

    /// Gives the remembered clients of one backend to another. Returns how many.
    pub fn migrate_clients(&self, from: Owner, to: Owner) -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        let mut clients = Vec::new();
        self.for_each_client(|key, client| {
            if client.owner == from {
                keys.push(*key);
                clients.push(Client { owner: to, ..*client });
            }
        })?;
        syscall::update_all(self.stores.clients.fd(), &keys, &clients).context("cannot write the client table")?;
        Ok(keys.len() as u64)
    }

    /// Gives the remembered flows of one backend to another. Returns how many.
    pub fn migrate_flows(&self, from: Owner, to: Owner) -> u64 {
        let is_moved = |key: &FlowKey, flow: &Flow| flow.owner == from && self.judge.is_live(key, flow);
        self.stores.flows.replace(|key, flow| is_moved(key, flow).then_some(to))
    }
}

/// Counts by backend index, which are cheaper to add to than counts by backend: there may be millions of flows.
pub(super) struct Tally<'a> {
    incarnations: &'a [u32],
    counts: Vec<u64>,
}

impl<'a> Tally<'a> {
    /// A tally of backends with these incarnations, by index.
    pub(super) fn new(incarnations: &'a [u32]) -> Self {
        Self {
            incarnations,
            counts: vec![0; incarnations.len()],
        }
    }

    /// Counts something that a backend has which there is.
    pub(super) fn add(&mut self, owner: Owner) {
        if let Some(count) = self.counts.get_mut(owner.backend as usize) {
            *count += 1;
        }
    }

    fn by_owner(&self) -> impl Iterator<Item = (Owner, u64)> {
        let counted = (0..).zip(self.incarnations).zip(&self.counts);
        counted
            .filter(|(_, count)| **count > 0)
            .map(|((backend, &incarnation), &count)| (Owner { backend, incarnation }, count))
    }

    /// Puts what was counted into `counts`.
    pub(super) fn finish(&self, counts: &mut FlowCounts) {
        counts.by_backend = self.by_owner().collect();
        counts.total = self.counts.iter().sum();
    }
}

//! Reading and clearing what the data plane remembers of flows and clients.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Context as _;
use balancer_common::{
    abi::{
        Address, Backend, Client, ClientKey, Flow, FlowKey, Load, Owner, Pin, PinPrefix, Selection, Service, Tick,
        Tracking,
    },
    affinity::{self, Identity, Lifetimes, Stage},
};

use super::{Dataplane, TimerTick, syscall};
use crate::reconcile::PinKey;

/// How many flows and clients are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
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

/// What the remembered flows and clients are judged by.
struct Judge<'a> {
    dataplane: &'a Dataplane,
    now: Tick,
    lifetimes: Lifetimes,
    /// The lengths that prefixes of pins have.
    pin_lengths: BTreeSet<u32>,
}

impl Judge<'_> {
    fn service(&self, index: u32) -> Option<&Service> {
        self.dataplane.state.services.get(&index)?.record.as_ref()
    }

    fn backend(&self, owner: Owner) -> Option<&Backend> {
        let backend = self.dataplane.state.backends.get(&owner.backend)?;
        (backend.record.incarnation == owner.incarnation).then_some(&backend.record)
    }

    /// Whether a packet of the flow would find it remembered.
    fn is_live(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.service(key.service).is_some_and(|service| {
            let lifetime = self.lifetimes.of(flow.phase, service.timeout);
            affinity::is_remembered(self.now, flow.last_seen, lifetime)
        }) && self.backend(flow.owner).is_some()
    }

    /// The slot of the flow if it is remembered because its backend is not the slot's.
    fn disputed_slot(&self, key: &FlowKey, flow: &Flow) -> Option<u32> {
        let service = self.service(key.service)?;
        if service.tracking() != Tracking::Changes {
            return None;
        }
        let slot = Identity::new(service, key, self.pin(key)).slot(service);
        let owner = self.dataplane.maps.tables.owner(key.service, slot)?;
        (owner != flow.owner.backend).then_some(slot)
    }

    /// The pin with the longest prefix, as the program finds it.
    fn pin(&self, key: &FlowKey) -> Option<&Pin> {
        self.pin_lengths.iter().rev().find_map(|&bits| {
            let client = key.client.masked(Address::mask(bits - PinPrefix::SERVICE_BITS));
            let prefix = PinPrefix::new(key.service, client);
            self.dataplane.state.pins.get(&PinKey { bits, prefix })
        })
    }

    /// The backends whose flows the program counts, with none yet.
    fn counted_backends(&self) -> HashMap<u32, u64> {
        let backends = self.dataplane.state.backends.iter();
        let counted = backends.filter(|(_, backend)| {
            let service = self.service(backend.record.service);
            service.is_some_and(|service| service.selection() == Selection::LeastFlows)
        });
        counted.map(|(&index, _)| (index, 0)).collect()
    }

    fn is_known(&self, key: &ClientKey, client: &Client) -> bool {
        self.service(key.service)
            .is_some_and(|service| affinity::is_remembered(self.now, client.last_seen, service.timeout))
            && self.backend(client.owner).is_some()
    }
}

impl Dataplane {
    /// Counts the remembered flows by reading the whole table: some milliseconds for every hundred thousand.
    pub fn flow_counts(&self) -> anyhow::Result<FlowCounts> {
        let mut counts = FlowCounts::default();
        let judge = self.judge(self.now()?)?;
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            if judge.is_live(key, flow) {
                counts.count(flow);
            }
        })
        .context("cannot read the flow table")?;
        Ok(counts)
    }

    /// Calls `visit` with every remembered flow.
    pub fn for_each_flow(&self, mut visit: impl FnMut(&FlowKey, &Flow)) -> anyhow::Result<()> {
        let judge = self.judge(self.now()?)?;
        syscall::for_each(self.maps.flows.fd(), |key: &FlowKey, flow: &Flow| {
            if judge.is_live(key, flow) {
                visit(key, flow);
            }
        })
        .context("cannot read the flow table")
    }

    /// Calls `visit` with every remembered client.
    pub fn for_each_client(&self, mut visit: impl FnMut(&ClientKey, &Client)) -> anyhow::Result<()> {
        let judge = self.judge(self.now()?)?;
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
        let judge = self.judge(now)?;
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

    /// How many flows the kernel has forgotten to make room for others: those that were added and are neither there any
    /// more nor have been removed. Never less than what an earlier call returned.
    pub fn evictions(&mut self) -> anyhow::Result<u64> {
        let mut present = 0_u64;
        syscall::for_each(self.maps.flows.fd(), |_: &FlowKey, _: &Flow| present += 1)
            .context("cannot read the flow table")?;
        let added: u64 = self.maps.flows_added.get(&0, 0)?.iter().sum();
        let removed = self.maps.flows_removed.get(&0, 0)?;
        self.evictions = self.evictions.max(added.saturating_sub(present + removed));
        Ok(self.evictions)
    }

    fn count_removed(&mut self, flows: u64) -> anyhow::Result<()> {
        let removed = self.maps.flows_removed.get(&0, 0)?;
        self.maps.flows_removed.set(0, removed + flows, 0)?;
        Ok(())
    }

    fn judge(&self, now: Tick) -> anyhow::Result<Judge<'_>> {
        Ok(Judge {
            dataplane: self,
            now,
            lifetimes: TimerTick::of_kernel()?.lifetimes(),
            pin_lengths: self.state.pins.keys().map(|key| key.bits).collect(),
        })
    }
}

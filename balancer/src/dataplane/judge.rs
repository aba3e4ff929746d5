//! What of the remembered flows and clients still counts.

use std::collections::{BTreeSet, HashMap};

use balancer_common::{
    abi::{Address, Client, ClientKey, Flow, FlowKey, Owner, Pin, PinPrefix, Selection, Service, Tick, Tracking},
    affinity::{self, Identity, Lifetimes},
};

use super::{Dataplane, TimerTick};
use crate::reconcile::PinKey;

/// What the remembered flows and clients are judged by.
///
/// There may be millions, so services and backends stand in tables by their indices.
pub(super) struct Judge<'a> {
    dataplane: &'a Dataplane,
    services: Vec<Option<Service>>,
    /// The incarnation of each backend index; 0 where there is no backend.
    incarnations: Vec<u32>,
    now: Tick,
    lifetimes: Lifetimes,
    /// The lengths that prefixes of pins have.
    pin_lengths: BTreeSet<u32>,
}

impl<'a> Judge<'a> {
    /// A judge of what the data plane remembers at this moment.
    pub(super) fn new(dataplane: &'a Dataplane, now: Tick) -> anyhow::Result<Self> {
        let state = &dataplane.state;
        let records = state.services.iter().map(|(&index, service)| (index, service.record));
        let incarnations = state
            .backends
            .iter()
            .map(|(&index, backend)| (index, backend.record.incarnation));
        Ok(Self {
            dataplane,
            services: by_index(records),
            incarnations: by_index(incarnations),
            now,
            lifetimes: TimerTick::of_kernel()?.lifetimes(),
            pin_lengths: state.pins.keys().map(|key| key.bits).collect(),
        })
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.services.get(index as usize)?.as_ref()
    }

    /// Whether what is remembered of the backend is meant for the one that has its index now.
    fn is_there(&self, owner: Owner) -> bool {
        owner.incarnation != 0 && self.incarnations.get(owner.backend as usize) == Some(&owner.incarnation)
    }

    /// Whether a packet of the flow would find it remembered.
    pub(super) fn is_live(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.service(key.service).is_some_and(|service| {
            let lifetime = self.lifetimes.of(flow.phase, service.timeout);
            affinity::is_remembered(self.now, flow.last_seen, lifetime)
        }) && self.is_there(flow.owner)
    }

    /// The slot of the flow if it is remembered because its backend is not the slot's.
    pub(super) fn disputed_slot(&self, key: &FlowKey, flow: &Flow) -> Option<u32> {
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
    pub(super) fn counted_backends(&self) -> HashMap<u32, u64> {
        let backends = self.dataplane.state.backends.iter();
        let counted = backends.filter(|(_, backend)| {
            let service = self.service(backend.record.service);
            service.is_some_and(|service| service.selection() == Selection::LeastFlows)
        });
        counted.map(|(&index, _)| (index, 0)).collect()
    }

    /// Whether a new flow of the client would find it remembered.
    pub(super) fn is_known(&self, key: &ClientKey, client: &Client) -> bool {
        self.service(key.service)
            .is_some_and(|service| affinity::is_remembered(self.now, client.last_seen, service.timeout))
            && self.is_there(client.owner)
    }
}

/// A table with each value at its index.
fn by_index<T: Clone + Default>(values: impl Iterator<Item = (u32, T)>) -> Vec<T> {
    let mut table = Vec::new();
    for (index, value) in values {
        let index = index as usize;
        if table.len() <= index {
            table.resize(index + 1, T::default());
        }
        table[index] = value;
    }
    table
}

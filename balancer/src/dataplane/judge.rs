//! What of the remembered flows and clients still counts.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use balancer_common::{
    abi::{Address, Client, ClientKey, ClientPrefix, Flow, FlowKey, Owner, Pin, Selection, Service, Tick, Tracking},
    affinity::{self, Identity, Lifetimes},
};

use super::{Dataplane, TimerTick, memory::Tally};
use crate::{maglev::Slots, reconcile::PrefixKey};

/// What the remembered flows and clients are judged by.
///
/// There may be millions, so services and backends stand in tables by their indices.
pub(super) struct Judge {
    services: Vec<Option<Service>>,
    /// The incarnation of each backend index; 0 where there is no backend.
    incarnations: Vec<u32>,
    now: Tick,
    lifetimes: Lifetimes,
    /// Of services that remember only what a change moves: their tables, by service index.
    slots: HashMap<u32, Arc<Slots>>,
    /// What clients of these services are pinned to.
    pins: HashMap<PrefixKey, Pin>,
    /// The lengths that prefixes of pins have.
    pin_lengths: BTreeSet<u32>,
    /// The backends whose flows the program counts.
    counted: Vec<Owner>,
}

impl Judge {
    /// A judge of what the data plane remembers at this moment.
    pub(super) fn new(dataplane: &Dataplane, now: Tick) -> anyhow::Result<Self> {
        let state = &dataplane.state;
        let records = state.services.iter().map(|(&index, service)| (index, service.record));
        let incarnations = state
            .backends
            .iter()
            .map(|(&index, backend)| (index, backend.record.incarnation));
        let slots = dataplane.maps.tables.remembering_changes();
        let pins = state
            .pins
            .iter()
            .filter(|(key, _)| slots.contains_key(&u32::from_be_bytes(key.prefix.service)));
        let pins: HashMap<_, _> = pins.map(|(&key, &pin)| (key, pin)).collect();
        let services = by_index(records);
        let counted = state.backends.iter().filter(|(_, backend)| {
            let service: Option<&Service> = services.get(backend.record.service as usize).and_then(Option::as_ref);
            service.is_some_and(|service| service.selection() == Selection::LeastFlows)
        });
        let counted = counted.filter_map(|(&index, _)| dataplane.owner(index)).collect();
        Ok(Self {
            services,
            incarnations: by_index(incarnations),
            now,
            lifetimes: TimerTick::of_kernel()?.lifetimes(),
            slots,
            pin_lengths: pins.keys().map(|key| key.bits).collect(),
            pins,
            counted,
        })
    }

    /// When it was made.
    pub(super) const fn now(&self) -> Tick {
        self.now
    }

    /// The tables that [disputes](Self::disputed_slot) are about.
    pub(super) fn into_slots(self) -> HashMap<u32, Arc<Slots>> {
        self.slots
    }

    /// A tally of the backends.
    pub(super) fn tally(&self) -> Tally<'_> {
        Tally::new(&self.incarnations)
    }

    /// Whether there is a service of which this holds.
    pub(super) fn any_service(&self, holds: impl Fn(&Service) -> bool) -> bool {
        self.services.iter().flatten().any(holds)
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
        let slots = self.slots.get(&key.service)?;
        let size = u32::try_from(slots.current.len()).ok()?;
        let slot = Identity::new(service, key, self.pin(key)).slot(size);
        let owner = slots.current.get(slot as usize)?.backend();
        (owner != flow.owner.backend).then_some(slot)
    }

    /// The pin with the longest prefix, as the program finds it.
    fn pin(&self, key: &FlowKey) -> Option<&Pin> {
        self.pin_lengths.iter().rev().find_map(|&bits| {
            let client = key.client.masked(Address::mask(bits - ClientPrefix::SERVICE_BITS));
            let prefix = ClientPrefix::new(key.service, client);
            self.pins.get(&PrefixKey { prefix, bits })
        })
    }

    /// The backends whose flows the program counts, with none yet.
    pub(super) fn counted_backends(&self) -> HashMap<Owner, u64> {
        self.counted.iter().map(|&owner| (owner, 0)).collect()
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

//! What the data plane counts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use aya::util::nr_cpus;
use balancer_common::{
    DropReason, Event,
    abi::{
        CounterLayout, CpuTraffic, Failures, TablePlace, Traffic,
        arena::{COUNTERS, EARLIER_TRAFFIC},
    },
};

use super::{
    Capacity, Dataplane, Division,
    arena::{Arena, Records},
};

/// What the CPUs count of backends, and what services have seen by those that have left them.
pub(super) struct Counters {
    records: Records<CpuTraffic>,
    earlier: Records<Traffic>,
    layout: CounterLayout,
    /// How many there can be.
    cpus: u32,
}

impl Counters {
    /// The counters that are there.
    pub(super) fn open(arena: &Arc<Arena>, capacity: Capacity) -> anyhow::Result<Self> {
        let cpus = nr_cpus().map_err(|(file, error)| anyhow::Error::new(error).context(file))?;
        let cpus = u32::try_from(cpus)?;
        let layout = capacity.counters();
        let count = layout
            .of_cpu
            .checked_mul(cpus)
            .filter(|&count| count <= COUNTERS.capacity());
        let count = count.with_context(|| {
            format!(
                "{cpus} CPUs cannot count so many backends: lower dataplane.max_backends to {}",
                COUNTERS.capacity() / cpus
            )
        })?;
        Ok(Self {
            records: arena.records(&COUNTERS, count)?,
            earlier: arena.records(&EARLIER_TRAFFIC, capacity.services)?,
            layout,
            cpus,
        })
    }

    fn of_backend(&self, index: u32) -> anyhow::Result<Traffic> {
        (0..self.cpus)
            .map(|cpu| Ok(self.records.get(self.layout.of_backend(cpu, index))?.traffic))
            .sum()
    }

    /// Sets those of a service to zero.
    pub(super) fn reset_service(&self, index: u32) -> anyhow::Result<()> {
        self.earlier.set(index, &Traffic::default())
    }

    /// Sets those of a backend to zero. It has memory for them from then on.
    pub(super) fn reset_backend(&self, index: u32) -> anyhow::Result<()> {
        (0..self.cpus).try_for_each(|cpu| {
            let number = self.layout.of_backend(cpu, index);
            self.records.set(number, &CpuTraffic::default())
        })
    }

    /// Has a service keep what a backend that leaves it has seen.
    pub(super) fn keep(&self, service: u32, backend: u32) -> anyhow::Result<()> {
        let mut earlier = self.earlier.get(service)?;
        earlier += self.of_backend(backend)?;
        self.earlier.set(service, &earlier)?;
        self.reset_backend(backend)
    }
}

impl Dataplane {
    /// The counters of all services by index, summed over the CPUs and over the backends, those that have left among them.
    pub fn service_traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        let mut traffic = vec![Traffic::default(); self.capacity.services as usize];
        for &index in self.state.services.keys() {
            if let Some(traffic) = traffic.get_mut(index as usize) {
                *traffic = self.maps.counters.earlier.get(index)?;
            }
        }
        for (&index, backend) in &self.state.backends {
            if let Some(traffic) = traffic.get_mut(backend.record.service as usize) {
                *traffic += self.maps.counters.of_backend(index)?;
            }
        }
        Ok(traffic)
    }

    /// The counters of all backends by index, summed over the CPUs.
    pub fn backend_traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        let mut traffic = vec![Traffic::default(); self.capacity.backends as usize];
        // Those of others need not have memory.
        for &index in self.state.backends.keys() {
            if let Some(traffic) = traffic.get_mut(index as usize) {
                *traffic = self.maps.counters.of_backend(index)?;
            }
        }
        Ok(traffic)
    }

    /// How often a backend has failed clients, where that is watched.
    pub fn failures(&self, index: u32) -> anyhow::Result<Failures> {
        Ok(self.maps.failures.get(&index, 0)?)
    }

    /// How many packets were dropped for each reason.
    pub fn drops(&self) -> anyhow::Result<Vec<(DropReason, u64)>> {
        DropReason::ALL
            .iter()
            .map(|&reason| {
                let counters = self.maps.drops.get(&(reason as u32), 0)?;
                Ok((reason, counters.iter().sum()))
            })
            .collect()
    }

    /// How often each event has happened.
    pub fn events(&self) -> anyhow::Result<Vec<(Event, u64)>> {
        Event::ALL
            .iter()
            .map(|&event| Ok((event, self.event(event)?)))
            .collect()
    }

    /// How often an event has happened.
    pub fn event(&self, event: Event) -> anyhow::Result<u64> {
        let counters = self.maps.events.get(&(event as u32), 0)?;
        Ok(counters.iter().sum())
    }

    /// The share of new clients of its service that a backend gets, 0 to 1.
    pub fn share(&self, index: u32) -> f64 {
        let backend = self.state.backends.get(&index);
        backend.map_or(0.0, |backend| self.maps.tables.share(backend.record.service, index))
    }

    /// How many slots of its service's table a backend has.
    pub fn slots(&self, service: u32, backend: u32) -> u32 {
        self.maps.tables.slots(service, backend)
    }

    /// By service index: what those tables gave to each backend that have been replaced since the last call.
    pub fn take_earlier_divisions(&mut self) -> HashMap<u32, Division> {
        self.maps.tables.take_earlier_divisions()
    }

    /// The Maglev table that is published for a service: for each slot a backend index, or 0.
    pub fn published_table(&self, service: u32) -> anyhow::Result<Vec<u32>> {
        Ok(self.maps.tables.published(service)?.unwrap_or_default())
    }

    /// Where in the memory that packets read a service's table is, and how large it is. Another one that takes its place is elsewhere.
    pub fn table_place(&self, service: u32) -> anyhow::Result<TablePlace> {
        self.maps.tables.place(service)
    }

    /// How long building Maglev tables took since the last call.
    pub fn take_build_durations(&mut self) -> Vec<Duration> {
        self.maps.tables.take_build_durations()
    }

    /// Number of changes that were made to the data plane since it was first set up.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes every route that the program remembers void.
    pub fn forget_routes(&mut self) -> anyhow::Result<()> {
        let epoch = self.maps.route_epoch.get(0)?;
        self.maps.route_epoch.set(0, &epoch.wrapping_add(1))
    }
}

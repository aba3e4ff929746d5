//! Publishing Maglev tables.
//!
//! Each table is a map of its own with one value. A new one is filled first; then the service's entry is pointed to it,
//! so that a packet meets the old table or the new one, never a part of either.

use std::{
    collections::HashMap,
    mem,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::maps::MapData;
use balancer_common::abi::{Service, TableClass};

use super::{maps, pins::Pins, syscall};
use crate::{maglev, reconcile::Table};

/// The tables of all services: for each size class a map from service index to table.
pub(super) struct Tables {
    small: MapData,
    medium: MapData,
    large: MapData,
    /// By service index: the share of new clients that each backend index gets.
    shares: HashMap<u32, HashMap<u32, f64>>,
    /// How long building tables took, until somebody asks.
    build_durations: Vec<Duration>,
}

impl Tables {
    /// Opens the pinned maps.
    pub(super) fn open(pins: &Pins) -> anyhow::Result<Self> {
        Ok(Self {
            small: maps::open(&pins.map("SMALL_TABLES"))?,
            medium: maps::open(&pins.map("MEDIUM_TABLES"))?,
            large: maps::open(&pins.map("LARGE_TABLES"))?,
            shares: HashMap::new(),
            build_durations: Vec::new(),
        })
    }

    /// Builds and publishes the tables of the services with these indices. Those that the kernel holds already are left
    /// alone. For each size class there is one system call, in which the kernel waits once for the packets that still
    /// use an old table.
    pub(super) fn publish(&mut self, tables: &[(u32, Table)]) -> anyhow::Result<()> {
        for class in TableClass::ALL {
            let mut indices = Vec::new();
            let mut inner = Vec::new();
            for (index, table) in tables {
                if TableClass::for_size(table.size.slots() as usize) != Some(class) {
                    continue;
                }
                let started = Instant::now();
                let slots = maglev::build(&table.candidates, table.size);
                self.build_durations.push(started.elapsed());
                self.shares.insert(*index, shares(&slots));
                let value = fill(&slots, class.capacity());
                if self.current(*index, class)?.as_ref() != Some(&value) {
                    indices.push(*index);
                    inner.push(syscall::array_of_one(&value).context("cannot make a Maglev table")?);
                }
            }
            let descriptors: Vec<_> = inner.iter().map(OwnedFd::as_raw_fd).collect();
            syscall::update_all(self.of(class).fd(), &indices, &descriptors).context("cannot publish Maglev tables")?;
        }
        Ok(())
    }

    /// The published table of a service, as the kernel holds it.
    pub(super) fn published(&self, index: u32, record: &Service) -> anyhow::Result<Option<Vec<u32>>> {
        let mut table = self.current(index, record.table_class())?;
        if let Some(table) = &mut table {
            table.truncate(record.table_size as usize);
        }
        Ok(table)
    }

    /// The share of a service's new clients that a backend gets, 0 to 1.
    pub(super) fn share(&self, service: u32, backend: u32) -> f64 {
        let shares = self.shares.get(&service);
        shares.and_then(|shares| shares.get(&backend)).copied().unwrap_or(0.0)
    }

    /// How long building tables took since the last call.
    pub(super) fn take_build_durations(&mut self) -> Vec<Duration> {
        mem::take(&mut self.build_durations)
    }

    /// Removes a service's table from every class but `kept`.
    pub(super) fn clear(&mut self, index: u32, kept: Option<TableClass>) -> anyhow::Result<()> {
        for class in TableClass::ALL {
            if kept != Some(class) {
                syscall::delete(self.of(class).fd(), index).context("cannot remove a Maglev table")?;
            }
        }
        if kept.is_none() {
            self.shares.remove(&index);
        }
        Ok(())
    }

    /// The table that the kernel holds, in its full capacity.
    fn current(&self, index: u32, class: TableClass) -> anyhow::Result<Option<Vec<u32>>> {
        let mut id = [0_u32];
        if !syscall::lookup(self.of(class).fd(), index, &mut id)? {
            return Ok(None);
        }
        let [id] = id;
        let table = MapData::from_id(id)?;
        let mut value = vec![0; class.capacity()];
        let found = syscall::lookup(table.fd(), 0, &mut value)?;
        Ok(found.then_some(value))
    }

    const fn of(&self, class: TableClass) -> &MapData {
        match class {
            TableClass::Small => &self.small,
            TableClass::Medium => &self.medium,
            TableClass::Large => &self.large,
        }
    }
}

/// The slots of a table, repeated up to the capacity of its class: while the size of a service's table changes, a packet
/// may for a moment look behind its end, and finds a backend there too.
fn fill(slots: &[u32], capacity: usize) -> Vec<u32> {
    slots.iter().copied().cycle().take(capacity).collect()
}

/// The share of the slots that each backend has.
fn shares(slots: &[u32]) -> HashMap<u32, f64> {
    let mut counts = HashMap::new();
    for backend in slots {
        *counts.entry(*backend).or_insert(0_u32) += 1;
    }
    let total: u32 = counts.values().sum();
    counts
        .into_iter()
        .map(|(backend, count)| (backend, f64::from(count) / f64::from(total)))
        .collect()
}

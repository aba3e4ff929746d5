//! Publishing Maglev tables.
//!
//! Each table is a map of its own with one value. A new one is filled first; then the service's entry is pointed to it, so that
//! packets meet the old table or the new one, whole. That takes until the kernel knows that no packet uses the old one any more.
//! What follows from a backend's failure cannot wait so long: owners of slots are then written into the table that packets read,
//! a slot at a time. Each packet is for one slot, and meets its old owner or its new one.

use std::{
    collections::{HashMap, HashSet},
    mem,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::maps::MapData;
use balancer_common::abi::{Service, Slot, TableClass, Tick};

use super::{in_place::Words, maps, pins::Pins, sweep::Findings, syscall};
use crate::{
    maglev::{self, Slots},
    reconcile::Table,
};

/// The tables of all services.
pub(super) struct Tables {
    current: Classes,
    previous: Classes,
    /// Of services that remember only what a change moves.
    handovers: HashMap<u32, Handover>,
    /// By service index: what its table gives to each backend.
    divisions: HashMap<u32, Division>,
    /// The same of tables that have been replaced, until somebody asks.
    earlier: HashMap<u32, Division>,
    /// How long building tables took, until somebody asks.
    build_durations: Vec<Duration>,
}

/// What a Maglev table gives to each backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// Slots of the table.
    total: u32,
    /// Slots by backend index, of those that have any.
    by_backend: HashMap<u32, u32>,
}

impl Division {
    fn of(slots: &[u32]) -> Self {
        let mut division = Self::default();
        for backend in slots {
            division.total += 1;
            *division.by_backend.entry(*backend).or_default() += 1;
        }
        division
    }

    /// How many slots a backend index has.
    pub fn slots_of(&self, backend: u32) -> u32 {
        self.by_backend.get(&backend).copied().unwrap_or(0)
    }

    /// The share of the slots that a backend index has, 0 to 1.
    fn share_of(&self, backend: u32) -> f64 {
        f64::from(self.slots_of(backend)) / f64::from(self.total.max(1))
    }
}

/// For each size class a map from service index to table.
struct Classes([(TableClass, MapData); 3]);

/// How a table comes to where packets read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Publishing {
    /// A new one takes its place.
    Whole,
    /// It is changed where it is, if it stays as large.
    InPlace,
}

/// A table that the kernel is to hold.
struct Publication {
    index: u32,
    class: TableClass,
    slots: Vec<Slot>,
    /// Whether the one that it holds is to be changed, which has as many slots.
    in_place: bool,
}

struct Handover {
    class: TableClass,
    slots: Arc<Slots>,
    /// When slots last changed hands.
    changed: Tick,
}

impl Tables {
    /// Opens the pinned maps.
    pub(super) fn open(pins: &Pins) -> anyhow::Result<Self> {
        Ok(Self {
            current: Classes::open(pins, ["SMALL_TABLES", "MEDIUM_TABLES", "LARGE_TABLES"])?,
            previous: Classes::open(pins, ["SMALL_PREVIOUS", "MEDIUM_PREVIOUS", "LARGE_PREVIOUS"])?,
            handovers: HashMap::new(),
            divisions: HashMap::new(),
            earlier: HashMap::new(),
            build_durations: Vec::new(),
        })
    }

    /// Builds and publishes the tables of the services with these indices. Those that the kernel holds already are left
    /// alone. For all tables of a size class that are replaced there is one system call, in which the kernel waits once for the
    /// packets that still use an old one.
    pub(super) fn publish(&mut self, tables: &[(u32, Table)], now: Tick, publishing: Publishing) -> anyhow::Result<()> {
        let mut current = Vec::new();
        let mut previous = Vec::new();
        for (index, table) in tables {
            let Some(class) = TableClass::for_size(table.size.slots() as usize) else {
                continue;
            };
            let started = Instant::now();
            let owners = maglev::build(&table.candidates, table.size);
            self.build_durations.push(started.elapsed());
            let before = self.divisions.insert(*index, Division::of(&owners)).unwrap_or_default();
            let in_place = publishing == Publishing::InPlace && before.total == table.size.slots();
            let publish = |slots| Publication {
                index: *index,
                class,
                slots,
                in_place,
            };
            self.earlier.entry(*index).or_insert(before);
            let slots = if let Some(serving) = &table.handover {
                let serving = serving.iter().copied().collect();
                let slots = self.hand_over(*index, class, &owners, &serving, now)?;
                previous.push(publish(slots.previous.clone()));
                slots
            } else {
                self.handovers.remove(index);
                self.previous.clear(*index, None)?;
                Slots::new(&owners)
            };
            current.push(publish(slots.current));
        }
        // A slot that is marked in the current table needs its previous owner.
        self.previous.publish(&previous)?;
        self.current.publish(&current)
    }

    /// The table in which the slots of a service go from their present owners to `owners`.
    fn hand_over(
        &mut self,
        index: u32,
        class: TableClass,
        owners: &[u32],
        serving: &HashSet<u32>,
        now: Tick,
    ) -> anyhow::Result<Slots> {
        let before = match self.handovers.remove(&index) {
            Some(handover) => Some(Arc::unwrap_or_clone(handover.slots)),
            None => self.held(index, class, owners.len())?,
        };
        let slots = match before {
            Some(before) => before.hand_over(owners, serving),
            None => Slots::new(owners),
        };
        let handover = Handover {
            class,
            slots: Arc::new(slots.clone()),
            changed: now,
        };
        self.handovers.insert(index, handover);
        Ok(slots)
    }

    /// What the kernel holds of a service, if it holds anything.
    fn held(&self, index: u32, class: TableClass, size: usize) -> anyhow::Result<Option<Slots>> {
        let cut = |bits: Vec<u32>| -> Vec<Slot> { bits.into_iter().take(size).map(Slot::from_bits).collect() };
        let Some(current) = self.current.held(index, class)?.map(cut) else {
            return Ok(None);
        };
        Ok(Some(match self.previous.held(index, class)?.map(cut) {
            Some(previous) => Slots { current, previous },
            // Until now every flow of the service was remembered, or none.
            None => Slots::unknown(&current.iter().map(|slot| slot.backend()).collect::<Vec<_>>()),
        }))
    }

    /// Takes the marks from slots on which no flow needs them: those of services that have not changed for as long as
    /// `timeout` says, except for the disputed ones. Tables that are not those which were swept are left alone.
    pub(super) fn settle(&mut self, findings: &Findings, timeout: impl Fn(u32) -> Option<u32>) -> anyhow::Result<()> {
        let none = HashSet::new();
        let mut current = Vec::new();
        for (&index, handover) in &mut self.handovers {
            let swept = findings.slots.get(&index);
            let is_same = swept.is_some_and(|slots| Arc::ptr_eq(slots, &handover.slots));
            let due = timeout(index).is_some_and(|timeout| findings.began.since(handover.changed) > timeout);
            if !is_same || !due || !handover.slots.has_marks() {
                continue;
            }
            let settled = handover.slots.settle(findings.disputed.get(&index).unwrap_or(&none));
            if settled != *handover.slots {
                current.push(Publication {
                    index,
                    class: handover.class,
                    slots: settled.current.clone(),
                    in_place: true,
                });
                handover.slots = Arc::new(settled);
            }
        }
        self.current.publish(&current)
    }

    /// The tables of services that remember only what a change moves, by service index.
    pub(super) fn remembering_changes(&self) -> HashMap<u32, Arc<Slots>> {
        let handovers = self.handovers.iter();
        handovers
            .map(|(&index, handover)| (index, Arc::clone(&handover.slots)))
            .collect()
    }

    /// The published table of a service, as the kernel holds it.
    pub(super) fn published(&self, index: u32, record: &Service) -> anyhow::Result<Option<Vec<u32>>> {
        let table = self.current.held(index, record.table_class())?;
        let owners = |bits: Vec<u32>| {
            let slots = bits.into_iter().take(record.table_size as usize);
            slots.map(|bits| Slot::from_bits(bits).backend()).collect()
        };
        Ok(table.map(owners))
    }

    /// The share of a service's new clients that a backend gets, 0 to 1.
    pub(super) fn share(&self, service: u32, backend: u32) -> f64 {
        let division = self.divisions.get(&service);
        division.map_or(0.0, |division| division.share_of(backend))
    }

    /// How many slots of a service's table a backend has.
    pub(super) fn slots(&self, service: u32, backend: u32) -> u32 {
        let division = self.divisions.get(&service);
        division.map_or(0, |division| division.slots_of(backend))
    }

    /// By service index: what those tables gave to each backend that have been replaced since the last call.
    pub(super) fn take_earlier_divisions(&mut self) -> HashMap<u32, Division> {
        mem::take(&mut self.earlier)
    }

    /// How long building tables took since the last call.
    pub(super) fn take_build_durations(&mut self) -> Vec<Duration> {
        mem::take(&mut self.build_durations)
    }

    /// Removes a service's table from every class but `kept`.
    pub(super) fn clear(&mut self, index: u32, kept: Option<TableClass>) -> anyhow::Result<()> {
        self.current.clear(index, kept)?;
        self.previous.clear(index, kept)?;
        if kept.is_none() {
            self.divisions.remove(&index);
            self.handovers.remove(&index);
        }
        Ok(())
    }
}

impl Classes {
    fn open(pins: &Pins, [small, medium, large]: [&str; 3]) -> anyhow::Result<Self> {
        Ok(Self([
            (TableClass::Small, maps::open(&pins.map(small))?),
            (TableClass::Medium, maps::open(&pins.map(medium))?),
            (TableClass::Large, maps::open(&pins.map(large))?),
        ]))
    }

    /// Publishes tables by service index, except for those that the kernel holds already.
    fn publish(&self, tables: &[Publication]) -> anyhow::Result<()> {
        for (class, map) in &self.0 {
            let mut indices = Vec::new();
            let mut inner = Vec::new();
            for table in tables.iter().filter(|table| table.class == *class) {
                let value = fill(&table.slots, class.capacity());
                let present = open_held(map, table.index)?;
                if let (Some(present), true) = (&present, table.in_place) {
                    let words = Words::of(&present.fd(), value.len()).context("cannot change a Maglev table")?;
                    words.store(&value);
                } else if read(present.as_ref(), *class)?.as_ref() != Some(&value) {
                    indices.push(table.index);
                    inner.push(syscall::array_of_one(&value).context("cannot make a Maglev table")?);
                }
            }
            let descriptors: Vec<_> = inner.iter().map(OwnedFd::as_raw_fd).collect();
            syscall::update_all(map.fd(), &indices, &descriptors).context("cannot publish Maglev tables")?;
        }
        Ok(())
    }

    /// Removes a service's table from every class but `kept`.
    fn clear(&self, index: u32, kept: Option<TableClass>) -> anyhow::Result<()> {
        for (class, map) in &self.0 {
            if kept != Some(*class) {
                syscall::delete(map.fd(), index).context("cannot remove a Maglev table")?;
            }
        }
        Ok(())
    }

    fn held(&self, index: u32, class: TableClass) -> anyhow::Result<Option<Vec<u32>>> {
        let map = self.0.iter().find(|(of, _)| *of == class);
        map.map_or(Ok(None), |(_, map)| read(open_held(map, index)?.as_ref(), class))
    }
}

/// The table that the kernel holds.
fn open_held(map: &MapData, index: u32) -> anyhow::Result<Option<MapData>> {
    let mut id = [0_u32];
    if !syscall::lookup(map.fd(), index, &mut id)? {
        return Ok(None);
    }
    let [id] = id;
    Ok(Some(MapData::from_id(id)?))
}

/// What a table says, in its full capacity.
fn read(table: Option<&MapData>, class: TableClass) -> anyhow::Result<Option<Vec<u32>>> {
    let Some(table) = table else {
        return Ok(None);
    };
    let mut value = vec![0; class.capacity()];
    let found = syscall::lookup(table.fd(), 0, &mut value)?;
    Ok(found.then_some(value))
}

/// The slots of a table, repeated up to the capacity of its class: while the size of a service's table changes, a packet
/// may for a moment look behind its end, and finds a backend there too.
fn fill(slots: &[Slot], capacity: usize) -> Vec<u32> {
    slots.iter().map(|slot| slot.bits()).cycle().take(capacity).collect()
}

//! Publishing Maglev tables.
//!
//! A new table is filled first; then the service's place is set to it, so that packets meet the old table or the new one, whole. The
//! old one's memory is used again when no packet uses it any more, and to know that takes a while.
//! What follows from a backend's failure cannot wait so long: owners of slots are then written into the table that packets read,
//! a slot at a time. Each packet is for one slot, and meets its old owner or its new one.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use balancer_common::abi::{TablePlace, Tick};

use super::{
    arena::Arena,
    sweep::Findings,
    table_places::{Publication, TablePlaces, Which},
};
use crate::{
    maglev::{self, Slots},
    reconcile::Table,
};

/// The tables of all services.
pub(super) struct Tables {
    places: TablePlaces,
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
        let first = slots.iter().copied().min().unwrap_or_default();
        let last = slots.iter().copied().max().unwrap_or_default();
        // A map would take longer than all else that publishing a table takes.
        let mut counts = vec![0; (last - first) as usize + 1];
        for &backend in slots {
            counts[(backend - first) as usize] += 1;
        }
        Self {
            total: counts.iter().sum(),
            by_backend: (first..).zip(counts).filter(|&(_, count)| count > 0).collect(),
        }
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

/// How a table comes to where packets read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Publishing {
    /// A new one takes its place.
    Whole,
    /// It is changed where it is, if it stays as large.
    InPlace,
}

struct Handover {
    slots: Arc<Slots>,
    /// When slots last changed hands.
    changed: Tick,
}

impl Tables {
    /// The tables that are there, of so many services.
    pub(super) fn open(arena: &Arc<Arena>, services: u32) -> anyhow::Result<Self> {
        Ok(Self {
            places: TablePlaces::open(arena, services)?,
            handovers: HashMap::new(),
            divisions: HashMap::new(),
            earlier: HashMap::new(),
            build_durations: Vec::new(),
        })
    }

    /// Builds and publishes the tables of the services with these indices. Those that packets find already are left alone. Where
    /// others take their place, this waits once for all packets that may still use an old one.
    pub(super) fn publish(&mut self, tables: &[(u32, Table)], now: Tick, publishing: Publishing) -> anyhow::Result<()> {
        let mut current = Vec::new();
        let mut previous = Vec::new();
        for (index, table) in tables {
            let started = Instant::now();
            let owners = maglev::build(&table.candidates, table.size);
            self.build_durations.push(started.elapsed());
            let before = self.divisions.insert(*index, Division::of(&owners)).unwrap_or_default();
            let publish = |which, slots| Publication {
                index: *index,
                which,
                slots,
                in_place: publishing == Publishing::InPlace,
            };
            self.earlier.entry(*index).or_insert(before);
            let slots = if let Some(serving) = &table.handover {
                let serving = serving.iter().copied().collect();
                let slots = self.hand_over(*index, &owners, &serving, now)?;
                previous.push(publish(Which::Previous, slots.previous.clone()));
                slots
            } else {
                self.handovers.remove(index);
                self.places.remove(*index, Which::Previous)?;
                Slots::new(&owners)
            };
            current.push(publish(Which::Current, slots.current));
        }
        // A slot that is marked in the current table needs its previous owner.
        previous.append(&mut current);
        self.places.publish(&previous)
    }

    /// The table in which the slots of a service go from their present owners to `owners`.
    fn hand_over(&mut self, index: u32, owners: &[u32], serving: &HashSet<u32>, now: Tick) -> anyhow::Result<Slots> {
        let before = match self.handovers.remove(&index) {
            Some(handover) => Some(Arc::unwrap_or_clone(handover.slots)),
            None => self.held(index)?,
        };
        let slots = match before {
            Some(before) => before.hand_over(owners, serving),
            None => Slots::new(owners),
        };
        let handover = Handover {
            slots: Arc::new(slots.clone()),
            changed: now,
        };
        self.handovers.insert(index, handover);
        Ok(slots)
    }

    /// What the kernel holds of a service, if it holds anything.
    fn held(&mut self, index: u32) -> anyhow::Result<Option<Slots>> {
        let Some(current) = self.places.held(index, Which::Current)? else {
            return Ok(None);
        };
        Ok(Some(match self.places.held(index, Which::Previous)? {
            Some(previous) if previous.len() == current.len() => Slots { current, previous },
            // Until now every flow of the service was remembered, or none.
            _ => Slots::unknown(&current.iter().map(|slot| slot.backend()).collect::<Vec<_>>()),
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
                    which: Which::Current,
                    slots: settled.current.clone(),
                    in_place: true,
                });
                handover.slots = Arc::new(settled);
            }
        }
        self.places.publish(&current)
    }

    /// The tables of services that remember only what a change moves, by service index.
    pub(super) fn remembering_changes(&self) -> HashMap<u32, Arc<Slots>> {
        let handovers = self.handovers.iter();
        handovers
            .map(|(&index, handover)| (index, Arc::clone(&handover.slots)))
            .collect()
    }

    /// The published table of a service, as the kernel holds it.
    pub(super) fn published(&self, index: u32) -> anyhow::Result<Option<Vec<u32>>> {
        let table = self.places.held(index, Which::Current)?;
        Ok(table.map(|slots| slots.iter().map(|slot| slot.backend()).collect()))
    }

    /// Where it is.
    pub(super) fn place(&self, index: u32) -> anyhow::Result<TablePlace> {
        self.places.place(index)
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

    /// Removes the tables of a service.
    pub(super) fn clear(&mut self, index: u32) -> anyhow::Result<()> {
        for which in [Which::Current, Which::Previous] {
            self.places.remove(index, which)?;
        }
        self.divisions.remove(&index);
        self.handovers.remove(&index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_division_counts_each_slot_once() {
        let division = Division::of(&[7, 1_000_000, 0, 7, 9, 7]);
        assert_eq!(division.total, 6);
        assert_eq!(
            [0, 7, 8, 9, 1_000_000].map(|backend| division.slots_of(backend)),
            [1, 3, 0, 1, 1]
        );
        assert_eq!(division.by_backend.len(), 4);
        assert_eq!(Division::of(&[]), Division::default());
    }
}

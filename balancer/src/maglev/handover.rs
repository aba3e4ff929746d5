//! From one table to the next, for services that remember only the flows which that would move.
//!
//! A slot that changes hands is marked. Flows on a marked slot are remembered from then on, so each of them is known
//! except those that began before the slot was marked: they belong to the slot's *previous* owner, the one that it had
//! when it was marked. However often the slot changes hands afterwards, that stays so, since all flows that began
//! meanwhile are remembered. The mark goes when no flow on the slot belongs to another backend than the slot's own.

use std::collections::HashSet;

use balancer_common::abi::Slot;

/// A table with what is known of the tables before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The owner of each slot, and whether the slot is marked.
    pub current: Vec<Slot>,
    /// Of marked slots the previous owner, else no backend.
    pub previous: Vec<Slot>,
}

impl Slots {
    /// A table that flows have never known otherwise.
    pub fn new(owners: &[u32]) -> Self {
        Self {
            current: owners.iter().copied().map(Slot::new).collect(),
            previous: vec![Slot::default(); owners.len()],
        }
    }

    /// A table of which nobody knows what it was before: all slots are marked, and no flow that is not remembered counts.
    pub fn unknown(owners: &[u32]) -> Self {
        let mut slots = Self::new(owners);
        for slot in &mut slots.current {
            *slot = slot.changed();
        }
        slots
    }

    /// The table after its slots have gone to `owners`. Only backends in `serving` may still have flows.
    ///
    /// A table of another size has other slots: every slot of the new one is marked, and flows that were not remembered
    /// are lost track of.
    #[must_use]
    pub fn hand_over(&self, owners: &[u32], serving: &HashSet<u32>) -> Self {
        if self.current.len() != owners.len() {
            return Self::unknown(owners);
        }
        let slots = self.current.iter().zip(&self.previous).zip(owners);
        let (current, previous) = slots
            .map(|((&slot, &previous), &owner)| {
                let next = Slot::new(owner);
                let previous = if slot.has_changed() {
                    previous
                } else if slot.backend() == owner || slot.backend() == 0 {
                    return (next, Slot::default());
                } else {
                    slot
                };
                let kept = serving.contains(&previous.backend());
                (next.changed(), if kept { previous } else { Slot::default() })
            })
            .unzip();
        Self { current, previous }
    }

    /// The table once flows that began before its last change, and have not been seen since, need not be expected any
    /// more. Only slots in `disputed`, on which remembered flows belong to another backend than the slot's own, stay
    /// marked.
    #[must_use]
    pub fn settle(&self, disputed: &HashSet<u32>) -> Self {
        let current = (0..).zip(&self.current).map(|(number, slot)| {
            let settled = Slot::new(slot.backend());
            if slot.has_changed() && disputed.contains(&number) {
                settled.changed()
            } else {
                settled
            }
        });
        Self {
            current: current.collect(),
            previous: vec![Slot::default(); self.previous.len()],
        }
    }

    /// Whether any slot is marked.
    pub fn has_marks(&self) -> bool {
        self.current.iter().any(|slot| slot.has_changed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [u32; 4] = [1, 2, 3, 4];

    fn serving(backends: &[u32]) -> HashSet<u32> {
        backends.iter().copied().collect()
    }

    /// Owner, mark and previous owner of each slot.
    fn seen(slots: &Slots) -> Vec<(u32, bool, u32)> {
        slots
            .current
            .iter()
            .zip(&slots.previous)
            .map(|(slot, previous)| (slot.backend(), slot.has_changed(), previous.backend()))
            .collect()
    }

    #[test]
    fn only_slots_that_change_hands_are_marked() {
        let slots = Slots::new(&[1, 2, 0]).hand_over(&[1, 3, 3], &serving(&ALL));
        assert_eq!(seen(&slots), [(1, false, 0), (3, true, 2), (3, false, 0)]);
        assert!(slots.has_marks());
        assert!(!Slots::new(&[1, 2, 3]).has_marks());
    }

    #[test]
    fn the_owner_from_before_the_mark_stays_the_previous_one_however_often_the_slot_changes_hands() {
        let serving = serving(&ALL);
        let mut slots = Slots::new(&[1]);
        for owner in [2, 3, 2, 4] {
            slots = slots.hand_over(&[owner], &serving);
            assert_eq!(seen(&slots), [(owner, true, 1)]);
        }
        // Back where it was: flows of those between are remembered, so the mark is still needed.
        slots = slots.hand_over(&[1], &serving);
        assert_eq!(seen(&slots), [(1, true, 1)]);
    }

    #[test]
    fn a_backend_that_does_not_serve_any_more_is_nobodys_previous_owner() {
        let slots = Slots::new(&[1, 2]).hand_over(&[3, 3], &serving(&[2, 3]));
        assert_eq!(seen(&slots), [(3, true, 0), (3, true, 2)]);
        let slots = slots.hand_over(&[3, 3], &serving(&[3]));
        assert_eq!(seen(&slots), [(3, true, 0), (3, true, 0)]);
    }

    #[test]
    fn marks_go_where_nothing_is_disputed() {
        let slots = Slots::new(&[1, 1, 1]).hand_over(&[1, 2, 2], &serving(&ALL));
        let settled = slots.settle(&[0, 2].into());
        assert_eq!(seen(&settled), [(1, false, 0), (2, false, 0), (2, true, 0)]);
        assert_eq!(
            seen(&settled.settle(&HashSet::new())),
            [(1, false, 0), (2, false, 0), (2, false, 0)]
        );
    }

    #[test]
    fn a_table_of_another_size_is_marked_all_over() {
        let slots = Slots::new(&[1, 1]).hand_over(&[1, 1, 2], &serving(&ALL));
        assert_eq!(seen(&slots), [(1, true, 0), (1, true, 0), (2, true, 0)]);
    }
}

//! A copy of the kernel's neighbour tables, kept to tell changes that matter from those that don't.

use std::{collections::HashMap, net::IpAddr};

use balancer_common::abi::Mac;

/// A neighbour: an address on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Neighbor {
    /// Index of the interface.
    pub(super) interface: u32,
    /// The neighbour's address; not always of the family of the packets that go there.
    pub(super) address: IpAddr,
}

/// How far the kernel has come with finding out a neighbour's MAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolution {
    /// It knows the MAC, freshly confirmed or not (the kernel's `NUD_VALID`).
    Known(Mac),
    /// It has not asked, or waits for an answer.
    Pending,
    /// It has asked in vain.
    Failed,
}

/// What the kernel says of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// How far the MAC is known.
    pub(super) resolution: Resolution,
    /// Whether someone else keeps the entry: an operator (permanent), a routing daemon (externally learned) or the
    /// device itself (no ARP). To have such an entry resolved would take that mark from it.
    pub(super) kept: bool,
}

/// What an observation means for what was known before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Change {
    /// Nothing that matters.
    Nothing,
    /// The neighbour may be reached now, or is known not to answer; nobody can have relied on it before.
    News,
    /// A MAC that was known is no longer right: whoever remembers it sends packets astray.
    Void,
}

/// The neighbours that the kernel knows of.
#[derive(Debug, Default)]
pub(super) struct NeighborTable(HashMap<Neighbor, Entry>);

impl NeighborTable {
    /// How far the MAC of `neighbor` is known.
    pub(super) fn resolution(&self, neighbor: Neighbor) -> Resolution {
        self.0
            .get(&neighbor)
            .map_or(Resolution::Pending, |entry| entry.resolution)
    }

    /// Whether someone else keeps the entry of `neighbor`.
    pub(super) fn is_kept(&self, neighbor: Neighbor) -> bool {
        self.0.get(&neighbor).is_some_and(|entry| entry.kept)
    }

    /// Notes what the kernel says of `neighbor` now; `None` for nothing any more.
    pub(super) fn observe(&mut self, neighbor: Neighbor, entry: Option<Entry>) -> Change {
        let before = self.resolution(neighbor);
        match entry {
            Some(entry) => self.0.insert(neighbor, entry),
            None => self.0.remove(&neighbor),
        };
        change(before, self.resolution(neighbor))
    }

    /// Takes over a whole new copy of the kernel's tables. Returns what matters most of the differences.
    pub(super) fn replace(&mut self, entries: HashMap<Neighbor, Entry>) -> Change {
        let before = std::mem::replace(&mut self.0, entries);
        let vanished = before
            .iter()
            .map(|(&neighbor, entry)| change(entry.resolution, self.resolution(neighbor)));
        let appeared = self
            .0
            .iter()
            .filter(|(neighbor, _)| !before.contains_key(neighbor))
            .map(|(_, entry)| change(Resolution::Pending, entry.resolution));
        vanished.chain(appeared).max().unwrap_or(Change::Nothing)
    }
}

fn change(before: Resolution, after: Resolution) -> Change {
    match (before, after) {
        (before, after) if before == after => Change::Nothing,
        (Resolution::Known(_), _) => Change::Void,
        (Resolution::Pending | Resolution::Failed, _) => Change::News,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEIGHBOR: Neighbor = Neighbor {
        interface: 2,
        address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11)),
    };
    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];

    fn entry(resolution: Resolution) -> Entry {
        Entry {
            resolution,
            kept: false,
        }
    }

    #[test]
    fn a_change_is_void_only_if_a_known_mac_is_no_longer_right() {
        use Resolution::{Failed, Known, Pending};
        let cases = [
            (None, None, Change::Nothing),
            (None, Some(Pending), Change::Nothing),
            (None, Some(Failed), Change::News),
            (None, Some(Known(A)), Change::News),
            (Some(Pending), Some(Known(A)), Change::News),
            (Some(Pending), Some(Failed), Change::News),
            (Some(Failed), Some(Known(A)), Change::News),
            (Some(Failed), None, Change::News),
            (Some(Known(A)), Some(Known(A)), Change::Nothing),
            (Some(Known(A)), Some(Known(B)), Change::Void),
            (Some(Known(A)), Some(Pending), Change::Void),
            (Some(Known(A)), Some(Failed), Change::Void),
            (Some(Known(A)), None, Change::Void),
        ];
        for (before, after, expected) in cases {
            let mut table = NeighborTable::default();
            table.observe(NEIGHBOR, before.map(entry));
            assert_eq!(
                table.observe(NEIGHBOR, after.map(entry)),
                expected,
                "{before:?} to {after:?}"
            );

            let copy = |resolution: Option<Resolution>| {
                let entries = resolution.map(|resolution| (NEIGHBOR, entry(resolution)));
                entries.into_iter().collect::<HashMap<_, _>>()
            };
            let mut table = NeighborTable::default();
            table.replace(copy(before));
            assert_eq!(
                table.replace(copy(after)),
                expected,
                "replaced, {before:?} to {after:?}"
            );
        }
    }

    #[test]
    fn a_neighbor_is_the_same_address_on_the_same_interface() {
        let mut table = NeighborTable::default();
        table.observe(NEIGHBOR, Some(entry(Resolution::Known(A))));
        let elsewhere = Neighbor {
            interface: 3,
            ..NEIGHBOR
        };
        assert_eq!(table.resolution(elsewhere), Resolution::Pending);
        assert_eq!(table.resolution(NEIGHBOR), Resolution::Known(A));
    }

    #[test]
    fn an_entry_that_someone_else_keeps_is_marked_until_it_goes() {
        let mut table = NeighborTable::default();
        assert!(!table.is_kept(NEIGHBOR));
        let kept = Entry {
            resolution: Resolution::Known(A),
            kept: true,
        };
        table.observe(NEIGHBOR, Some(kept));
        assert!(table.is_kept(NEIGHBOR));
        table.observe(NEIGHBOR, None);
        assert!(!table.is_kept(NEIGHBOR));
    }
}

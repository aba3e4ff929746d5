//! Which pages of the arena are taken.

use std::{collections::BTreeMap, ops::Range};

/// Blocks of pages, each behind the last one as long as there is room, then where others have been given back.
pub(super) struct Blocks {
    room: Range<u32>,
    /// How many pages, by the first one.
    taken: BTreeMap<u32, u32>,
    /// Where to look first.
    next: u32,
}

impl Blocks {
    /// Pages of which none is taken.
    pub(super) const fn of(room: Range<u32>) -> Self {
        Self {
            next: room.start,
            room,
            taken: BTreeMap::new(),
        }
    }

    /// Notes that pages are taken.
    pub(super) fn hold(&mut self, page: u32, pages: u32) {
        self.taken.insert(page, pages);
        self.next = self.next.max(page + pages);
    }

    /// Takes as many pages in a row. `None` if there are not.
    pub(super) fn take(&mut self, pages: u32) -> Option<u32> {
        let page = self
            .gap(self.next..self.room.end, pages)
            .or_else(|| self.gap(self.room.start..self.room.end, pages))?;
        self.taken.insert(page, pages);
        self.next = page + pages;
        Some(page)
    }

    /// Gives a block back.
    pub(super) fn give_back(&mut self, page: u32) {
        self.taken.remove(&page);
    }

    /// The first gap of so many pages. No block reaches into the room from before it.
    fn gap(&self, room: Range<u32>, pages: u32) -> Option<u32> {
        let mut begin = room.start;
        for (&page, &length) in self.taken.range(room.clone()) {
            if page - begin >= pages {
                return Some(begin);
            }
            begin = page + length;
        }
        (room.end.saturating_sub(begin) >= pages).then_some(begin)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_once_there_is_no_more() {
        let mut blocks = Blocks::of(10..16);
        assert_eq!(
            [blocks.take(2), blocks.take(2), blocks.take(2)],
            [Some(10), Some(12), Some(14)]
        );
        blocks.give_back(12);
        assert_eq!([blocks.take(3), blocks.take(2), blocks.take(1)], [None, Some(12), None]);
        blocks.give_back(10);
        blocks.give_back(12);
        assert_eq!(blocks.take(4), Some(10));
    }

    #[test]
    fn what_is_held_is_not_taken() {
        let mut blocks = Blocks::of(0..10);
        blocks.hold(6, 2);
        blocks.hold(1, 1);
        assert_eq!(
            [blocks.take(2), blocks.take(4), blocks.take(1)],
            [Some(8), Some(2), Some(0)]
        );
    }

    proptest! {
        #[test]
        fn no_page_is_in_two_blocks_and_none_is_lost(steps in vec((1_u32..5, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
            let mut blocks = Blocks::of(5..37);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (pages, which, gives_back) in steps {
                if gives_back && !held.is_empty() {
                    let (page, _) = held.swap_remove(which.index(held.len()));
                    blocks.give_back(page);
                } else if let Some(page) = blocks.take(pages) {
                    held.push((page, pages));
                }
                let all: Vec<u32> = held.iter().flat_map(|&(page, pages)| page..page + pages).collect();
                let different: BTreeSet<u32> = all.iter().copied().collect();
                prop_assert_eq!(all.len(), different.len());
                prop_assert!(all.iter().all(|page| (5..37).contains(page)));
            }
            for (page, _) in held {
                blocks.give_back(page);
            }
            prop_assert_eq!(blocks.take(32), Some(5));
        }
    }
}

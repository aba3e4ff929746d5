//! Maglev tables in the arena: where each service's is, and what it says.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use balancer_common::abi::{
    Slot, TablePlace,
    arena::{self, PAGE, Region, SIZE, TABLE_PAGES},
};

use super::{
    arena::{Arena, Records},
    blocks::Blocks,
    syscall,
};

/// The tables of all services.
pub(super) struct TablePlaces {
    arena: Arc<Arena>,
    blocks: Blocks,
    current: Records<TablePlace>,
    previous: Records<TablePlace>,
    /// Where tables were that packets find no more, but some may still use.
    retired: Vec<TablePlace>,
}

/// Which table of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// Who has the slots.
    Current,
    /// Who had them before.
    Previous,
}

/// A table that packets are to find.
pub(super) struct Publication {
    /// The service.
    pub(super) index: u32,
    pub(super) which: Which,
    pub(super) slots: Vec<Slot>,
    /// Whether the one that is there is to be changed, if it has as many slots.
    pub(super) in_place: bool,
}

impl TablePlaces {
    /// The tables that are there, of so many services.
    pub(super) fn open(arena: &Arc<Arena>, services: u32) -> anyhow::Result<Self> {
        let records = |region: &Region<TablePlace>| arena.records(region, services)?.with_memory();
        let mut places = Self {
            arena: Arc::clone(arena),
            blocks: Blocks::of(TABLE_PAGES),
            current: records(&arena::TABLES)?,
            previous: records(&arena::PREVIOUS_TABLES)?,
            retired: Vec::new(),
        };
        for place in [places.current.all()?, places.previous.all()?].concat() {
            if place != TablePlace::NONE {
                places.blocks.hold(place.page(), TablePlace::pages(place.slots));
            }
        }
        Ok(places)
    }

    /// Publishes tables in their order, except for those that are there already.
    pub(super) fn publish(&mut self, publications: &[Publication]) -> anyhow::Result<()> {
        for publication in publications {
            self.publish_one(publication)?;
        }
        self.recycle()
    }

    fn publish_one(&mut self, publication: &Publication) -> anyhow::Result<()> {
        let &Publication { index, which, .. } = publication;
        let slots = &publication.slots;
        let present = self.records(which).get(index)?;
        let is_as_large = present.slots as usize == slots.len();
        if is_as_large && (publication.in_place || self.read(present).eq(slots.iter().copied())) {
            write(self.arena.words(present), slots);
            return Ok(());
        }
        let count = u32::try_from(slots.len())?;
        let page = self.take(TablePlace::pages(count))?;
        let place = TablePlace::new(page, count);
        write(self.arena.words(place), slots);
        self.set(index, which, place)
    }

    /// Pages for a table.
    fn take(&mut self, pages: u32) -> anyhow::Result<u32> {
        if let Some(page) = self.blocks.take(pages) {
            return Ok(page);
        }
        self.recycle()?;
        self.blocks.take(pages).with_context(|| {
            let bytes = u64::from(TABLE_PAGES.end - TABLE_PAGES.start) * u64::from(PAGE);
            format!(
                "the Maglev tables of all services together take more than the {} MiB that there are for them: give services \
                 a smaller maglev_size",
                bytes >> 20
            )
        })
    }

    /// Tells packets where a table is.
    fn set(&mut self, index: u32, which: Which, place: TablePlace) -> anyhow::Result<()> {
        let before = self.records(which).get(index)?;
        self.records(which).set(index, &place)?;
        if before != TablePlace::NONE {
            self.retired.push(before);
        }
        Ok(())
    }

    /// Removes a table.
    pub(super) fn remove(&mut self, index: u32, which: Which) -> anyhow::Result<()> {
        self.set(index, which, TablePlace::NONE)
    }

    /// What a table says, if there is one.
    pub(super) fn held(&self, index: u32, which: Which) -> anyhow::Result<Option<Vec<Slot>>> {
        let place = self.records(which).get(index)?;
        Ok((place != TablePlace::NONE).then(|| self.read(place).collect()))
    }

    /// Where a table is.
    pub(super) fn place(&self, index: u32) -> anyhow::Result<TablePlace> {
        self.current.get(index)
    }

    fn read(&self, place: TablePlace) -> impl Iterator<Item = Slot> {
        let words = self.arena.words(place).iter();
        words.map(|word| Slot::from_bits(word.load(Ordering::Relaxed)))
    }

    const fn records(&self, which: Which) -> &Records<TablePlace> {
        match which {
            Which::Current => &self.current,
            Which::Previous => &self.previous,
        }
    }

    /// Makes room of what packets find no more.
    fn recycle(&mut self) -> anyhow::Result<()> {
        if !self.retired.is_empty() {
            syscall::wait_for_packets()?;
        }
        for place in self.retired.drain(..) {
            self.blocks.give_back(place.page());
        }
        Ok(())
    }
}

/// Writes slots where packets may read them. Each packet is for one slot, and meets its old owner or its new one.
fn write(words: &[AtomicU32], slots: &[Slot]) {
    for (word, slot) in words.iter().zip(slots) {
        if word.load(Ordering::Relaxed) != slot.bits() {
            word.store(slot.bits(), Ordering::Relaxed);
        }
    }
}

const _: () = assert!(TABLE_PAGES.end as u64 * PAGE as u64 <= SIZE);

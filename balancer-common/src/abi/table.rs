//! Where Maglev tables lie in the [arena](super::arena).

use super::{Slot, arena, record};

/// Where a Maglev table lies and how large it is: one word of memory, so that packets meet one table or another.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TablePlace {
    /// The byte of the arena that it begins at, which is the first of a page.
    begin: u32,
    /// How many slots it has.
    pub slots: u32,
}
record!(TablePlace { begin, slots }, 8);

impl TablePlace {
    /// Where a service has no table. What is read there is the first record of all, of which every byte is zero for good.
    pub const NONE: Self = Self { begin: 0, slots: 0 };

    /// That of a table with so many slots that begins at a page of the arena.
    pub const fn new(page: u32, slots: u32) -> Self {
        Self {
            begin: page * arena::PAGE,
            slots,
        }
    }

    /// The page that it begins at.
    pub const fn page(self) -> u32 {
        self.begin / arena::PAGE
    }

    /// The place that a word stands for.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            begin: bits as u32,
            slots: (bits >> 32) as u32,
        }
    }

    /// The word that stands for the place.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.slots as u64) << 32 | self.begin as u64
    }

    /// At which byte of the arena a slot lies.
    #[inline(always)]
    pub const fn slot(self, number: u32) -> u64 {
        self.begin as u64 + number as u64 * size_of::<Slot>() as u64
    }

    /// How many pages a table with so many slots takes.
    pub const fn pages(slots: u32) -> u32 {
        (slots * size_of::<Slot>() as u32).div_ceil(arena::PAGE)
    }
}

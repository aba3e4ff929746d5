//! Size classes of Maglev tables.
//!
//! A table is one map value, so that it is published with one call and swapped whole. BPF fixes the size of a value
//! when the map is made; three classes keep a small service from paying for a large one.

/// Slots in a table of the small class.
pub const SMALL_TABLE: usize = 4_100;
/// Slots in a table of the medium class, which the default of 65,537 slots needs.
pub const MEDIUM_TABLE: usize = 65_540;
/// Slots in a table of the large class.
pub const LARGE_TABLE: usize = 655_380;

/// How much room a service's table has.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TableClass {
    /// Up to [`SMALL_TABLE`] slots.
    Small = 0,
    /// Up to [`MEDIUM_TABLE`] slots.
    Medium = 1,
    /// Up to [`LARGE_TABLE`] slots.
    Large = 2,
}

impl TableClass {
    /// Every class, smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The smallest class that has room for `slots`, if any has.
    pub fn for_size(slots: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| slots <= class.capacity())
    }

    /// How many slots a table of this class has room for.
    pub const fn capacity(self) -> usize {
        match self {
            Self::Small => SMALL_TABLE,
            Self::Medium => MEDIUM_TABLE,
            Self::Large => LARGE_TABLE,
        }
    }

    #[inline(always)]
    pub(super) const fn from_u8(class: u8) -> Self {
        match class {
            0 => Self::Small,
            1 => Self::Medium,
            _ => Self::Large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gets_the_smallest_class_that_has_room() {
        for (slots, class) in [
            (0, Some(TableClass::Small)),
            (1, Some(TableClass::Small)),
            (SMALL_TABLE, Some(TableClass::Small)),
            (SMALL_TABLE + 1, Some(TableClass::Medium)),
            (65_537, Some(TableClass::Medium)),
            (MEDIUM_TABLE, Some(TableClass::Medium)),
            (MEDIUM_TABLE + 1, Some(TableClass::Large)),
            (LARGE_TABLE, Some(TableClass::Large)),
            (LARGE_TABLE + 1, None),
            (usize::MAX, None),
        ] {
            assert_eq!(TableClass::for_size(slots), class, "{slots} slots");
        }
    }

    #[test]
    fn classes_grow_and_are_what_their_numbers_say() {
        assert!(TableClass::ALL.is_sorted_by_key(|class| class.capacity()));
        for class in TableClass::ALL {
            assert_eq!(TableClass::from_u8(class as u8), class);
        }
    }
}

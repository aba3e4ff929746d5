//! What a Maglev table holds.

/// A slot of a Maglev table: the index of its backend, and whether it has changed hands lately.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot(u32);

impl Slot {
    /// The highest backend index that a slot can hold.
    pub const MAX_BACKEND: u32 = !Self::CHANGED;
    const CHANGED: u32 = 1 << 31;

    /// A slot of the backend with this index; 0 is none.
    #[inline(always)]
    pub const fn new(backend: u32) -> Self {
        Self(backend & Self::MAX_BACKEND)
    }

    /// The slot with the given bits.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits that stand in the table.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// This slot, marked as one that has changed hands: flows on it may belong to another backend than its own.
    #[must_use]
    pub const fn changed(self) -> Self {
        Self(self.0 | Self::CHANGED)
    }

    /// Whether flows on the slot may belong to another backend than its own.
    #[inline(always)]
    pub const fn has_changed(self) -> bool {
        self.0 & Self::CHANGED != 0
    }

    /// Index of the backend; 0 is none.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        self.0 & Self::MAX_BACKEND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_backend_whether_it_has_changed_or_not() {
        for backend in [0, 1, 77, Slot::MAX_BACKEND] {
            let slot = Slot::new(backend);
            assert_eq!((slot.backend(), slot.has_changed()), (backend, false));
            let changed = Slot::from_bits(slot.changed().bits());
            assert_eq!((changed.backend(), changed.has_changed()), (backend, true));
        }
    }
}

//! Values in the kernel's memory that are changed in place, a word at a time.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU32, Ordering},
};

use super::shared::{Mapping, Shared};

// SAFETY: it is such an integer.
unsafe impl Shared for AtomicU32 {}

/// The one value of an array that was made for this (`BPF_F_MMAPABLE`), as words that packets read at the same time.
pub(super) struct Words(Mapping<AtomicU32>);

impl Words {
    /// The first `count` words of the array's value, which has at least as many.
    pub(super) fn of(array: &impl AsFd, count: usize) -> io::Result<Self> {
        Ok(Self(Mapping::of(array, count)?))
    }

    /// Writes `words` where something else is. A packet meets the old word or the new one.
    pub(super) fn store(&self, words: &[u32]) {
        for (present, word) in self.0.get().iter().zip(words) {
            if present.load(Ordering::Relaxed) != *word {
                present.store(*word, Ordering::Release);
            }
        }
    }
}

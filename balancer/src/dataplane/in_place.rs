//! Values in the kernel's memory that are changed in place, a word at a time.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

/// The one value of an array that was made for this (`BPF_F_MMAPABLE`), as words that packets read at the same time.
pub(super) struct Words {
    address: NonNull<AtomicU32>,
    count: usize,
}

impl Words {
    /// The first `count` words of the array's value, which has at least as many.
    pub(super) fn of(array: &impl AsFd, count: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let descriptor = array.as_fd().as_raw_fd();
        // SAFETY: a new mapping is asked for, wherever there is room.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                count * size_of::<AtomicU32>(),
                protection,
                libc::MAP_SHARED,
                descriptor,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, count })
    }

    /// Writes `words` where something else is. A packet meets the old word or the new one.
    pub(super) fn store(&self, words: &[u32]) {
        // SAFETY: the mapping has so many words until it is dropped, and all who share them use atomic accesses.
        let present = unsafe { slice::from_raw_parts(self.address.as_ptr(), self.count) };
        for (present, word) in present.iter().zip(words) {
            if present.load(Ordering::Relaxed) != *word {
                present.store(*word, Ordering::Release);
            }
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and nothing borrows it any more.
        let _unmapped = unsafe { libc::munmap(self.address.as_ptr().cast(), self.count * size_of::<AtomicU32>()) };
    }
}

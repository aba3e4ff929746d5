//! Memory that is a map's: read and written here while packets do the same.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr::{self, NonNull},
    slice,
};

/// What may lie in such memory: records of atomic words.
///
/// # Safety
///
/// The type must consist of atomic integers and nothing else, without padding.
pub(super) unsafe trait Shared {}

/// The values of an array that was made for this (`BPF_F_MMAPABLE`), from the first one on.
pub(super) struct Mapping<T: Shared> {
    address: NonNull<T>,
    count: usize,
}

// SAFETY: the memory belongs to the process, and it is only accessed by atomic operations.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T: Shared> Mapping<T> {
    /// Maps `count` of them, which the array's values must have room for.
    pub(super) fn of(array: &impl AsFd, count: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let descriptor = array.as_fd().as_raw_fd();
        let length = count * size_of::<T>();
        // SAFETY: a new mapping is asked for, wherever there is room.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, descriptor, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, count })
    }

    /// What is there.
    pub(super) fn get(&self) -> &[T] {
        // SAFETY: the mapping has so many until it is dropped, they begin at a page, and all who share them use atomic accesses.
        unsafe { slice::from_raw_parts(self.address.as_ptr(), self.count) }
    }
}

impl<T: Shared> Drop for Mapping<T> {
    fn drop(&mut self) {
        let length = self.count * size_of::<T>();
        // SAFETY: the mapping is this one's alone, and nothing borrows it any more.
        let _unmapped = unsafe { libc::munmap(self.address.as_ptr().cast(), length) };
    }
}

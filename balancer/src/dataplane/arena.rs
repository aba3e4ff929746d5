//! The memory that packets and the daemon share (`balancer_common::abi::arena`).

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _},
    path::Path,
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use aya::{Pod, maps::MapData};
use balancer_common::abi::arena::{ARENA, Region};

use super::syscall;

/// The arena, mapped where its pointers say that it is.
pub(super) struct Arena {
    address: NonNull<u8>,
}

// SAFETY: the memory belongs to the process, and it is only accessed by atomic operations.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Opens the arena that is pinned at `path`, or makes and pins it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Arc<Self>> {
        if path.exists() {
            let map = MapData::from_pin(path).with_context(|| format!("cannot open the pinned map {}", path.display()))?;
            let address = syscall::map_extra(map.fd())?;
            let arena = Self::map(map.fd(), address, libc::MAP_FIXED_NOREPLACE);
            return arena.with_context(|| format!("cannot map {}", path.display())).map(Arc::new);
        }
        let (map, arena) = Self::make().context("cannot make the arena")?;
        syscall::pin(&map, path).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(Arc::new(arena))
    }

    /// Makes an arena at addresses of which this process uses none. Whoever opens it has to map it there.
    fn make() -> io::Result<(std::os::fd::OwnedFd, Self)> {
        /// Between where programs are and where the kernel puts what may be anywhere.
        const FIRST: u64 = 1 << 44;
        const PLACES: u64 = 1 << 14;
        loop {
            let address = FIRST + RandomState::new().hash_one(()) % PLACES * ARENA;
            let map = syscall::arena(address)?;
            match Self::map(&map, address, libc::MAP_FIXED_NOREPLACE) {
                Ok(arena) => return Ok((map, arena)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Maps an arena that has no place yet wherever there is room.
    pub(super) fn place(map: &impl AsFd) -> io::Result<Self> {
        Self::map(map, 0, 0)
    }

    fn map(map: &impl AsFd, address: u64, flags: libc::c_int) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let descriptor = map.as_fd().as_raw_fd();
        let address = ptr::without_provenance_mut(address as usize);
        // SAFETY: a new mapping is asked for, where nothing is.
        let address =
            unsafe { libc::mmap(address, ARENA as usize, protection, libc::MAP_SHARED | flags, descriptor, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address })
    }

    /// The first `count` records of a region.
    pub(super) fn records<T: Pod>(self: &Arc<Self>, region: &Region<T>, count: u32) -> anyhow::Result<Records<T>> {
        ensure!(count <= region.capacity(), "the arena has no room for {count} records");
        Ok(Records {
            arena: Arc::clone(self),
            begin: region.place(0),
            count,
            kind: PhantomData,
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and nothing borrows it any more.
        let _unmapped = unsafe { libc::munmap(self.address.as_ptr().cast(), ARENA as usize) };
    }
}

/// Records of a kind by index.
pub(super) struct Records<T> {
    arena: Arc<Arena>,
    begin: u64,
    count: u32,
    kind: PhantomData<T>,
}

impl<T: Pod> Records<T> {
    /// All of them.
    pub(super) fn all(&self) -> anyhow::Result<Vec<T>> {
        (0..self.count).map(|index| self.get(index)).collect()
    }

    /// What stands at an index.
    pub(super) fn get(&self, index: u32) -> anyhow::Result<T> {
        let mut record = MaybeUninit::<T>::uninit();
        let to = record.as_mut_ptr().cast::<u32>();
        for (at, word) in self.words(index)?.iter().enumerate() {
            // SAFETY: the record has as many words.
            unsafe { to.add(at).write_unaligned(word.load(Ordering::Relaxed)) };
        }
        // SAFETY: each of its words has been written, and any bytes are such a record.
        Ok(unsafe { record.assume_init() })
    }

    /// Writes a record, a word at a time.
    pub(super) fn set(&mut self, index: u32, record: &T) -> anyhow::Result<()> {
        let from = ptr::from_ref(record).cast::<u32>();
        for (at, word) in self.words(index)?.iter().enumerate() {
            // SAFETY: the record has as many words.
            word.store(unsafe { from.add(at).read_unaligned() }, Ordering::Relaxed);
        }
        Ok(())
    }

    fn words(&self, index: u32) -> anyhow::Result<&[AtomicU32]> {
        ensure!(index < self.count, "there is no record {index}: there are {}", self.count);
        let offset = self.begin as usize + index as usize * size_of::<T>();
        // SAFETY: the region has room for so many, and the arena for the region.
        let address = unsafe { self.arena.address.add(offset) };
        // SAFETY: the memory is there until the arena is dropped, records begin at whole words, and all accesses are atomic.
        Ok(unsafe { std::slice::from_raw_parts(address.as_ptr().cast(), size_of::<T>() / size_of::<u32>()) })
    }
}

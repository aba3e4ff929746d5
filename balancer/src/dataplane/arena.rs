//! The memory that packets and the daemon share (`balancer_common::abi::arena`).

#![expect(
    clippy::cast_possible_truncation,
    reason = "no host has arenas whose addresses have less than 64 bits"
)]

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use aya::{Pod, maps::MapData};
use balancer_common::abi::{
    TablePlace,
    arena::{PAGE, Region, SIZE},
};

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
            let map =
                MapData::from_pin(path).with_context(|| format!("cannot open the pinned map {}", path.display()))?;
            let address = syscall::map_extra(map.fd())?;
            let arena = Self::map(map.fd(), address, libc::MAP_FIXED_NOREPLACE);
            return arena
                .with_context(|| format!("cannot map {}", path.display()))
                .map(Arc::new);
        }
        let (map, arena) =
            Self::make().context("cannot make memory that packets share (an arena): is the kernel at least 6.12?")?;
        let map = MapData::from_fd(map).context("cannot look at the arena")?;
        map.pin(path)
            .with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(Arc::new(arena))
    }

    /// Makes an arena at addresses of which this process uses none. Whoever opens it has to map it there.
    fn make() -> io::Result<(OwnedFd, Self)> {
        /// Between where programs are and where the kernel puts what may be anywhere.
        const FIRST: u64 = 1 << 44;
        const PLACES: u64 = 1 << 14;
        loop {
            let address = FIRST + RandomState::new().hash_one(()) % PLACES * SIZE;
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
        let address = unsafe {
            libc::mmap(
                address,
                SIZE as usize,
                protection,
                libc::MAP_SHARED | flags,
                descriptor,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address })
    }

    /// The first `count` records of a region.
    pub(super) fn records<T: Pod>(self: &Arc<Self>, region: &Region<T>, count: u32) -> anyhow::Result<Records<T>> {
        ensure!(
            count <= region.capacity(),
            "the arena has room for {} such records, not for {count}",
            region.capacity()
        );
        Ok(Records {
            arena: Arc::clone(self),
            begin: region.place(0),
            count,
            kind: PhantomData,
        })
    }

    /// The slots of a table.
    pub(super) fn words(&self, table: TablePlace) -> &[AtomicU32] {
        self.atoms(table.slot(0), table.slots as usize)
    }

    /// So many atomic integers from a byte on at which one can begin.
    fn atoms<A: Atom>(&self, begin: u64, count: usize) -> &[A] {
        let begin = begin as usize;
        assert!(
            begin.is_multiple_of(align_of::<A>()) && begin + count * size_of::<A>() <= SIZE as usize,
            "the place is not one of the arena"
        );
        // SAFETY: the arena has so many bytes, as the assertion says.
        let address = unsafe { self.address.add(begin) };
        // SAFETY: the memory is there until the arena is dropped, and all who share it use atomic accesses.
        unsafe { slice::from_raw_parts(address.as_ptr().cast(), count) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and nothing borrows it any more.
        let _unmapped = unsafe { libc::munmap(self.address.as_ptr().cast(), SIZE as usize) };
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
    /// The same with memory for all of them, which otherwise is there once they are read or written here. A packet that reads where
    /// none is finds zeros too, but it takes the CPU microseconds to find that out; what it writes there is lost.
    pub(super) fn with_memory(self) -> anyhow::Result<Self> {
        let per_page = PAGE as usize / size_of::<T>();
        for index in (0..self.count).step_by(per_page) {
            self.get(index)?;
        }
        Ok(self)
    }

    /// What stands at an index.
    pub(super) fn get(&self, index: u32) -> anyhow::Result<T> {
        if Self::IS_LONG {
            self.read::<AtomicU64>(index)
        } else {
            self.read::<AtomicU32>(index)
        }
    }

    /// Writes a record: eight bytes at a time, or four if it has not so many.
    pub(super) fn set(&self, index: u32, record: &T) -> anyhow::Result<()> {
        if Self::IS_LONG {
            self.write::<AtomicU64>(index, record)
        } else {
            self.write::<AtomicU32>(index, record)
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> anyhow::Result<Vec<T>> {
        (0..self.count).map(|index| self.get(index)).collect()
    }

    const IS_LONG: bool = size_of::<T>().is_multiple_of(size_of::<u64>());

    fn read<A: Atom>(&self, index: u32) -> anyhow::Result<T> {
        let mut record = MaybeUninit::<T>::uninit();
        let to: *mut A::Integer = record.as_mut_ptr().cast();
        for (at, atom) in self.atoms::<A>(index)?.iter().enumerate() {
            // SAFETY: the record has as many.
            let to = unsafe { to.add(at) };
            // SAFETY: as above.
            unsafe { to.write_unaligned(atom.load()) };
        }
        // SAFETY: every byte has been written, and any bytes are such a record.
        Ok(unsafe { record.assume_init() })
    }

    fn write<A: Atom>(&self, index: u32, record: &T) -> anyhow::Result<()> {
        let from: *const A::Integer = ptr::from_ref(record).cast();
        for (at, atom) in self.atoms::<A>(index)?.iter().enumerate() {
            // SAFETY: the record has as many.
            let from = unsafe { from.add(at) };
            // SAFETY: as above.
            atom.store(unsafe { from.read_unaligned() });
        }
        Ok(())
    }

    fn atoms<A: Atom>(&self, index: u32) -> anyhow::Result<&[A]> {
        ensure!(index < self.count, "there is no record {index} of {}", self.count);
        let begin = self.begin + u64::from(index) * size_of::<T>() as u64;
        Ok(self.arena.atoms(begin, size_of::<T>() / size_of::<A>()))
    }
}

/// An atomic integer. What is stored last is seen last.
trait Atom {
    type Integer;
    fn load(&self) -> Self::Integer;
    fn store(&self, integer: Self::Integer);
}

impl Atom for AtomicU64 {
    type Integer = u64;

    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn store(&self, integer: u64) {
        self.store(integer, Ordering::Release);
    }
}

impl Atom for AtomicU32 {
    type Integer = u32;

    fn load(&self) -> u32 {
        self.load(Ordering::Acquire)
    }

    fn store(&self, integer: u32) {
        self.store(integer, Ordering::Release);
    }
}

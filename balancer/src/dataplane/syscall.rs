//! Commands of `bpf(2)` that aya does not offer: many elements of a map with one call, arenas, and detaching what is pinned.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::Pod;
use balancer_common::abi::arena::{PAGE, SIZE};

/// Commands (`enum bpf_cmd` in linux/bpf.h).
#[derive(Clone, Copy)]
#[repr(i64)]
enum Command {
    CreateMap = 0,
    GetObject = 7,
    LookupBatch = 24,
    UpdateBatch = 26,
    DeleteBatch = 27,
    DescribeObject = 15,
    DetachLink = 34,
}

/// The part of `union bpf_attr` that is needed to make an arena.
#[repr(C)]
#[derive(Default)]
struct ArenaAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    interface: u32,
    btf_fd: u32,
    btf_types: [u32; 3],
    map_extra: u64,
}

/// `struct bpf_map_info` (linux/bpf.h) up to what is asked for.
#[repr(C)]
#[derive(Default)]
struct MapDescription {
    sizes: [u32; 6],
    name: [u8; 16],
    interface: u32,
    btf_struct: u32,
    network: [u64; 2],
    btf: [u32; 4],
    map_extra: u64,
}

/// The part of `union bpf_attr` that the batch commands use.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// The part of `union bpf_attr` that is needed to open what is pinned.
#[repr(C)]
struct ObjectAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that is needed to detach a link.
#[repr(C)]
struct LinkAttributes {
    link_fd: u32,
}

/// The part of `union bpf_attr` that is needed to have an object described.
#[repr(C)]
struct DescribeAttributes {
    descriptor: u32,
    length: u32,
    description: u64,
}

/// The part of `struct bpf_prog_info` (linux/bpf.h) that says what a program consists of.
#[repr(C)]
#[derive(Default)]
struct ProgramDescription {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    machine_code_length: u32,
    instructions_length: u32,
    machine_code: u64,
    instructions: u64,
}

/// Calls `bpf(2)`.
///
/// # Safety
///
/// `attributes` must be laid out as the kernel expects them for `command`, and every address in them must be that of a
/// live buffer of the size that the command reads or writes.
unsafe fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the size is that of the attributes; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Calls `bpf(2)` with a command that opens something.
///
/// # Safety
///
/// As for [`bpf`].
unsafe fn open<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let descriptor = unsafe { bpf(command, attributes) }?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn descriptor(object: &impl AsFd) -> u32 {
    object.as_fd().as_raw_fd().unsigned_abs()
}

/// Makes an arena of four gigabytes whose pointers count from `address`.
pub(super) fn arena(address: u64) -> io::Result<OwnedFd> {
    /// `BPF_MAP_TYPE_ARENA` (linux/bpf.h).
    const TYPE: u32 = 33;
    /// `BPF_F_MMAPABLE` (linux/bpf.h).
    const MMAPABLE: u32 = 1 << 10;
    let mut attributes = ArenaAttributes {
        map_type: TYPE,
        max_entries: u32::try_from(SIZE / u64::from(PAGE)).map_err(io::Error::other)?,
        map_flags: MMAPABLE,
        name: *b"ARENA\0\0\0\0\0\0\0\0\0\0\0",
        map_extra: address,
        ..ArenaAttributes::default()
    };
    // SAFETY: the attributes hold no addresses of buffers.
    unsafe { open(Command::CreateMap, &mut attributes) }
}

/// What a map was made with beyond its sizes: for an arena the address from which its pointers count.
pub(super) fn map_extra(map: &impl AsFd) -> io::Result<u64> {
    let mut description = MapDescription::default();
    let mut attributes = DescribeAttributes {
        descriptor: descriptor(map),
        length: u32::try_from(size_of::<MapDescription>()).map_err(io::Error::other)?,
        description: std::ptr::from_mut(&mut description) as u64,
    };
    // SAFETY: the description is live and of the size that is given.
    unsafe { bpf(Command::DescribeObject, &mut attributes) }?;
    Ok(description.map_extra)
}

/// The instructions of a loaded program, as the kernel has them.
pub(super) fn instructions(program: &impl AsFd) -> io::Result<Vec<[u8; 8]>> {
    let mut description = ProgramDescription::default();
    describe(program, &mut description)?;
    let length = description.instructions_length;
    let mut instructions = vec![[0; 8]; usize::try_from(length).map_err(io::Error::other)? / 8];
    description = ProgramDescription {
        instructions_length: length,
        instructions: instructions.as_mut_ptr() as u64,
        ..ProgramDescription::default()
    };
    describe(program, &mut description)?;
    Ok(instructions)
}

fn describe(program: &impl AsFd, description: &mut ProgramDescription) -> io::Result<()> {
    let mut attributes = DescribeAttributes {
        descriptor: descriptor(program),
        length: u32::try_from(size_of::<ProgramDescription>()).map_err(io::Error::other)?,
        description: std::ptr::from_mut(description) as u64,
    };
    // SAFETY: the description is live and of the size that is given, and so are the buffers that it names.
    unsafe { bpf(Command::DescribeObject, &mut attributes) }?;
    Ok(())
}

/// Writes `values[i]` under `keys[i]` for every `i`. An error may leave some of them written.
pub(super) fn update_all<K: Pod, V: Pod>(map: &impl AsFd, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "each key needs its value");
    if keys.is_empty() {
        return Ok(());
    }
    let mut attributes = BatchAttributes {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: descriptor(map),
        ..BatchAttributes::default()
    };
    // SAFETY: keys and values are live and as many as `count` says.
    unsafe { bpf(Command::UpdateBatch, &mut attributes) }?;
    Ok(())
}

/// Removes the elements under `keys`; one that is gone already is passed over. Returns how many were there.
pub(super) fn delete_all<K: Pod>(map: &impl AsFd, mut keys: &[K]) -> io::Result<u64> {
    let mut deleted = 0;
    while !keys.is_empty() {
        let mut attributes = BatchAttributes {
            keys: keys.as_ptr() as u64,
            count: u32::try_from(keys.len()).map_err(io::Error::other)?,
            map_fd: descriptor(map),
            ..BatchAttributes::default()
        };
        // SAFETY: the keys are live and as many as `count` says.
        let result = unsafe { bpf(Command::DeleteBatch, &mut attributes) };
        // The kernel stops at an element that is not there, and says how many it has removed before.
        let done = attributes.count as usize;
        deleted += done as u64;
        keys = match result {
            Ok(_) => &[],
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => keys.get(done + 1..).unwrap_or_default(),
            Err(error) => return Err(error),
        };
    }
    Ok(deleted)
}

/// Calls `visit` with every element of a map. Elements of a hash map that come or go meanwhile may be missed.
pub(super) fn for_each<K: Pod, V: Pod>(map: &impl AsFd, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
    /// Elements per call: enough to make the calls rare, and more than any bucket has.
    const CHUNK: u32 = 4_096;
    let mut keys = zeroed_vec::<K>(CHUNK as usize);
    let mut values = zeroed_vec::<V>(CHUNK as usize);
    // Where the kernel is to go on; it writes as much as a key, or four bytes if a key is shorter.
    let mut position = vec![0_u8; size_of::<K>().max(size_of::<u32>())];
    let mut first = true;
    loop {
        let mut attributes = BatchAttributes {
            in_batch: if first { 0 } else { position.as_ptr() as u64 },
            out_batch: position.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: CHUNK,
            map_fd: descriptor(map),
            ..BatchAttributes::default()
        };
        // SAFETY: the buffers are live and hold `CHUNK` elements each.
        let last = match unsafe { bpf(Command::LookupBatch, &mut attributes) } {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(attributes.count as usize) {
            visit(key, value);
        }
        if last {
            return Ok(());
        }
        first = false;
    }
}

/// Detaches the link that is pinned at `path`, so that its program has stopped being called when this returns. A link that
/// only loses its pin is detached by the kernel some time later.
pub(super) fn detach_link(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = ObjectAttributes {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the path is live and ends with a zero.
    let link = unsafe { open(Command::GetObject, &mut attributes) }?;
    let mut attributes = LinkAttributes {
        link_fd: descriptor(&link),
    };
    // SAFETY: the attributes hold no addresses.
    unsafe { bpf(Command::DetachLink, &mut attributes) }?;
    Ok(())
}

/// Waits until no packet is still being processed with what was in the maps before (`membarrier(2)`, whose global command
/// is a grace period of RCU, under which every XDP program runs).
pub(super) fn wait_for_packets() -> io::Result<()> {
    /// `MEMBARRIER_CMD_GLOBAL` (linux/membarrier.h).
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn zeroed_vec<T: Pod>(len: usize) -> Vec<T> {
    // SAFETY: a `Pod` type is valid for any bytes, zeroes among them.
    (0..len).map(|_| unsafe { std::mem::zeroed() }).collect()
}

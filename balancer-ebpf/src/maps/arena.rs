//! The memory that the daemon's records lie in (`balancer_common::abi::arena`).
//!
//! It is read like any other: no lookup, no bounds and no missing entries. What was never written is zero, wherever it is.

use core::{arch::asm, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARENA},
    macros::btf_map,
};
use balancer_common::{
    abi::{
        Backend, Endpoint, EndpointKey, Service, Slot, TablePlace,
        arena::{self, PAGE, Region, SIZE},
    },
    shortcuts,
};

/// How the loader is told of an arena.
#[repr(C)]
struct Definition {
    r#type: *const [i32; BPF_MAP_TYPE_ARENA as usize],
    max_entries: *const [i32; (SIZE / PAGE as u64) as usize],
    map_flags: *const [i32; BPF_F_MMAPABLE as usize],
}

// SAFETY: nobody reads what the pointers point to; the loader reads their types.
unsafe impl Sync for Definition {}

#[btf_map]
static ARENA: Definition = Definition {
    r#type: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// Tells the verifier that the program has the arena. To be called in each program that reads it.
#[inline(always)]
pub(crate) fn has_arena() {
    // SAFETY: the instruction loads a number, which nothing is done with.
    unsafe { asm!("/* {arena} */", arena = in(reg) &raw const ARENA, options(readonly, nostack, preserves_flags)) };
}

/// The record of a region with this index.
#[inline(always)]
pub(super) fn record<T>(region: &Region<T>, index: u32) -> &'static T {
    at(region.place(index))
}

/// The same, to be written.
#[inline(always)]
pub(super) fn record_mut<T: 'static>(region: &Region<T>, index: u32) -> *mut T {
    ptr::from_ref(record(region, index)).cast_mut()
}

/// What lies at a byte of the arena.
#[inline(always)]
fn at<T>(mut place: u64) -> &'static T {
    // SAFETY: the instruction makes a pointer of the lower half of a number, and changes no memory.
    unsafe {
        asm!(
            "{place} = addr_space_cast({place}, 0, 1)",
            place = inout(reg) place,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    // SAFETY: all of the arena can be read while the program is there, and any bytes are a record. Another CPU may write it
    // meanwhile, whole words at a time, and either of their values is as good.
    unsafe { &*(place as *const T) }
}

/// The service with this index.
#[inline(always)]
pub(crate) fn service(index: u32) -> &'static Service {
    record(&arena::SERVICES, index)
}

/// The backend with this index.
#[inline(always)]
pub(crate) fn backend(index: u32) -> &'static Backend {
    record(&arena::BACKENDS, index)
}

/// Where the Maglev table of the service with this index is.
#[inline(always)]
pub(crate) fn table(service: u32) -> TablePlace {
    place(&arena::TABLES, service)
}

/// Where the oldest backends stand that flows on slots which have changed hands may belong to without being remembered.
#[inline(always)]
pub(crate) fn previous_table(service: u32) -> TablePlace {
    place(&arena::PREVIOUS_TABLES, service)
}

#[inline(always)]
fn place(region: &Region<TablePlace>, service: u32) -> TablePlace {
    let word: *const u64 = ptr::from_ref(record(region, service)).cast();
    // SAFETY: the place is such a word. It is read at once, since the daemon may write it at any time.
    TablePlace::from_bits(unsafe { word.read_volatile() })
}

/// The number that the daemon gives to the present state of routes and neighbours.
#[inline(always)]
pub(crate) fn route_epoch() -> u32 {
    *record(&arena::ROUTE_EPOCH, 0)
}

/// What a Maglev table holds in a slot.
#[inline(always)]
pub(crate) fn slot(table: TablePlace, number: u32) -> Slot {
    *at(table.slot(number))
}

/// The endpoint that may be found without looking through all of them.
#[inline(always)]
pub(super) fn shortcut(key: &EndpointKey) -> &'static Endpoint {
    record(&arena::SHORTCUTS, shortcuts::place(key))
}

/// The seed of a bucket of the endpoint table.
#[inline(always)]
pub(super) fn endpoint_seed(bucket: u32) -> u32 {
    *record(&arena::ENDPOINT_SEEDS, bucket)
}

/// An entry of the endpoint table.
#[inline(always)]
pub(super) fn endpoint_entry(number: u32) -> &'static Endpoint {
    record(&arena::ENDPOINTS, number)
}

/// A copy of a field of a record. Otherwise the compiler may read the field, and what stands in its place on another way through the
/// program, by one instruction, which the verifier does not allow for memory of different kinds.
#[inline(always)]
pub(crate) fn copied<T: Copy>(field: &T) -> T {
    const { assert!(size_of::<T>().is_multiple_of(2), "the field does not consist of words") };
    let mut copy = MaybeUninit::uninit();
    match align_of::<T>() {
        8 => copy_words::<T, u64>(field, &mut copy),
        4 => copy_words::<T, u32>(field, &mut copy),
        _ => copy_words::<T, u16>(field, &mut copy),
    }
    // SAFETY: every byte has been copied.
    unsafe { copy.assume_init() }
}

#[inline(always)]
fn copy_words<T, Word>(field: &T, copy: &mut MaybeUninit<T>) {
    let (from, to): (*const Word, *mut Word) = (ptr::from_ref(field).cast(), copy.as_mut_ptr().cast());
    for word in 0..size_of::<T>() / size_of::<Word>() {
        // SAFETY: the field has so many words.
        let from = unsafe { from.add(word) };
        // SAFETY: so has the copy.
        let to = unsafe { to.add(word) };
        // SAFETY: as above.
        let value = unsafe { from.read_volatile() };
        // SAFETY: as above.
        unsafe { to.write_unaligned(value) };
    }
}

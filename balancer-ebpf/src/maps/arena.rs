//! The memory that the daemon's records lie in.

use core::{arch::asm, mem::MaybeUninit, ptr};

use aya_ebpf::macros::btf_map;
use balancer_common::abi::{arena, Backend, Endpoint, Service, Slot, TablePlace};

#[repr(C)]
struct ArenaMap {
    r#type: *const [i32; 33],
    max_entries: *const [i32; 0x10_0000],
    map_flags: *const [i32; 1024],
}
unsafe impl Sync for ArenaMap {}

#[btf_map]
static ARENA: ArenaMap = ArenaMap {
    r#type: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

#[inline(always)]
pub(crate) fn use_arena() {
    unsafe {
        asm!("/* {} */", in(reg) &raw const ARENA, options(nostack, preserves_flags));
    }
}

#[inline(always)]
fn at<T>(mut offset: u64) -> &'static T {
    unsafe {
        asm!("{offset} = addr_space_cast({offset}, 0, 1)", offset = inout(reg) offset, options(pure, nomem, nostack, preserves_flags));
        &*(offset as *const T)
    }
}

#[inline(always)]
pub(crate) fn service(index: u32) -> &'static Service {
    at(arena::SERVICES.place(index))
}
#[inline(always)]
pub(crate) fn backend(index: u32) -> &'static Backend {
    at(arena::BACKENDS.place(index))
}
#[inline(always)]
pub(super) fn seed(index: u32) -> u32 {
    *at(arena::ENDPOINT_SEEDS.place(index))
}
#[inline(always)]
pub(super) fn shortcut(place: u32) -> &'static Endpoint {
    at(arena::SHORTCUTS.place(place))
}
#[inline(always)]
pub(super) fn entry(index: u32) -> &'static Endpoint {
    at(arena::ENDPOINTS.place(index))
}

/// Where the service's Maglev table is.
#[inline(always)]
pub(crate) fn table(index: u32) -> TablePlace {
    let word: &u64 = at(arena::TABLES.place(index));
    TablePlace::from_bits(unsafe { ptr::from_ref(word).read_volatile() })
}

/// Where the owners are that slots of the service's Maglev table had before.
#[inline(always)]
pub(crate) fn previous_table(index: u32) -> TablePlace {
    let word: &u64 = at(arena::PREVIOUS_TABLES.place(index));
    TablePlace::from_bits(unsafe { ptr::from_ref(word).read_volatile() })
}

/// What a Maglev table holds in a slot.
#[inline(always)]
pub(crate) fn slot(table: TablePlace, number: u32) -> Slot {
    Slot::from_bits(*at(table.slot(number)))
}

/// A copy of a field of a record. The compiler would read it and something on the stack by the same instruction, which the verifier
/// refuses.
#[inline(always)]
pub(crate) fn copied<T: Copy>(field: &T) -> T {
    let mut copy = MaybeUninit::uninit();
    match align_of::<T>() {
        8 => copy_words::<T, u64>(field, &mut copy),
        4 => copy_words::<T, u32>(field, &mut copy),
        _ => copy_words::<T, u16>(field, &mut copy),
    }
    unsafe { copy.assume_init() }
}

#[inline(always)]
fn copy_words<T, Word>(from: &T, to: &mut MaybeUninit<T>) {
    let from: *const Word = ptr::from_ref(from).cast();
    let to: *mut Word = to.as_mut_ptr().cast();
    let mut at = 0;
    while at < size_of::<T>() / size_of::<Word>() {
        unsafe { to.add(at).write_unaligned(from.add(at).read_volatile()) };
        at += 1;
    }
}

//! What answers take that are made here, instead of by a backend.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    btf_maps::{Array, PerCpuArray},
    helpers::{bpf_csum_diff, bpf_ktime_get_coarse_ns, bpf_xdp_load_bytes},
    macros::btf_map,
};
use balancer_common::{
    abi::{ANY_PORT, Address},
    checksum::Sum,
    hash,
    token_bucket::{Rate, TokenBucket},
};

/// By a hash of who gets the answers.
#[btf_map]
static ANSWER_BUDGETS: Array<TokenBucket, { ANSWER_BUDGET_COUNT as usize }> = Array::new();
/// The beginning of a packet, to be summed up.
#[btf_map]
static BEGINNING: PerCpuArray<[u8; SUMMED_UP as usize], 1> = PerCpuArray::new();
/// The largest IP packet that would have fitted in the place of the one at hand.
#[btf_map]
static LIMIT: PerCpuArray<u32, 1> = PerCpuArray::new();

/// How many answers hosts with the same hash get.
const ANSWER_BUDGET_COUNT: u32 = 4_096;
/// How many answers a host gets.
const ANSWER_RATE: Rate = Rate::per_second(20, 20);

/// Whether a host may get one more answer that is made here, instead of by a backend.
#[inline(always)]
pub(crate) fn may_answer(host: Address) -> bool {
    let index = hash::scale(hash::client(host, ANY_PORT), ANSWER_BUDGET_COUNT);
    let Some(bucket) = ANSWER_BUDGETS.get_ptr_mut(index) else {
        return false;
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: other CPUs may write the word at any time; at worst a host gets an answer more.
    unsafe { (*bucket).take(ANSWER_RATE, now) }
}

/// Most bytes that [`sum`] adds, and a whole word more.
const SUMMED_UP: u32 = 1_280 + 4;

/// The sum of `length` bytes of a frame from `offset` on, the last of an odd number as if a zero followed. `None` if they are not
/// all there, or too many.
#[inline(always)]
pub(crate) fn sum(context: *mut xdp_md, offset: u32, length: u32) -> Option<Sum> {
    const WORD: u32 = 4;
    let length = length as usize;
    if length == 0 || length > (SUMMED_UP - WORD) as usize {
        return None;
    }
    let beginning = BEGINNING.get_ptr_mut(0)?.cast::<u8>();
    // SAFETY: there is room for so many bytes.
    let answer = unsafe { bpf_xdp_load_bytes(context, offset, beginning.cast(), length as u32) };
    if answer != 0 {
        return None;
    }
    // SAFETY: behind them there is room for a word.
    let behind = unsafe { beginning.add(length) }.cast::<[u8; WORD as usize]>();
    // SAFETY: as above.
    unsafe { *behind = [0; WORD as usize] };
    let words = (length as u32).next_multiple_of(WORD);
    // SAFETY: the bytes are initialised, and the helper only reads them.
    let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, beginning.cast(), words, 0) };
    u32::try_from(sum).ok().map(|sum| Sum::ZERO.add_sum(sum))
}

/// Notes the largest IP packet that would have fitted.
#[inline(always)]
pub(crate) fn note_limit(bytes: u32) {
    if let Some(limit) = LIMIT.get_ptr_mut(0) {
        // SAFETY: a program is neither preempted by another on its CPU nor calls this twice at a time.
        unsafe { *limit = bytes };
    }
}

/// What was noted last as the largest IP packet that would have fitted.
#[inline(always)]
pub(crate) fn limit() -> u32 {
    LIMIT.get(0).copied().unwrap_or(0)
}

//! What is told of single packets while somebody follows.

use aya_ebpf::{
    Global,
    btf_maps::{Array, PerCpuArray, RingBuf},
    macros::btf_map,
};
use balancer_common::{
    abi::{Capture, Decision, TraceFilter},
    token_bucket::TokenBucket,
};

#[btf_map]
static TRACE_FILTER: Array<TraceFilter, 1> = Array::new();
#[btf_map]
static TRACE_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();
/// The packet at hand.
#[btf_map]
static TRACED: PerCpuArray<Capture, 1> = PerCpuArray::new();
#[btf_map]
static DECISIONS: RingBuf<Decision, 262_144> = RingBuf::new();
#[btf_map]
static CAPTURES: RingBuf<Capture, 2_097_152> = RingBuf::new();

/// Whether decisions are told: [`ON`]. The loader sets it.
#[unsafe(no_mangle)]
static TRACE: Global<u32> = Global::new(0x0ff0_ff01);

/// What the loader writes into [`TRACE`].
const ON: u32 = 1;

/// What may still be told.
#[repr(C)]
pub(crate) struct Budget {
    pub(crate) tokens: TokenBucket,
    /// Decisions that were not told since the last one that was.
    pub(crate) missed: u32,
    _padding: u32,
}

/// Whether this is the program that tells.
#[inline(always)]
pub(crate) fn is_traced() -> bool {
    TRACE.load() == ON
}

/// What is asked for.
#[inline(always)]
pub(crate) fn trace_filter() -> Option<&'static TraceFilter> {
    TRACE_FILTER.get(0)
}

/// What this CPU may still tell.
#[inline(always)]
pub(crate) fn trace_budget() -> Option<&'static mut Budget> {
    // SAFETY: a program is neither preempted by another on its CPU nor holds this twice.
    TRACE_BUDGET.get_ptr_mut(0).map(|budget| unsafe { &mut *budget })
}

/// What is known of the packet at hand.
#[inline(always)]
pub(crate) fn capture() -> Option<&'static mut Capture> {
    // SAFETY: as in `trace_budget`.
    TRACED.get_ptr_mut(0).map(|capture| unsafe { &mut *capture })
}

/// Tells a decision. Returns whether there was room.
#[inline(always)]
pub(crate) fn tell_decision(decision: &Decision) -> bool {
    DECISIONS.output(decision, 0).is_ok()
}

/// Tells a decision with the packet that it is about. Returns whether there was room.
#[inline(always)]
pub(crate) fn tell_capture(capture: &Capture) -> bool {
    CAPTURES.output(capture, 0).is_ok()
}

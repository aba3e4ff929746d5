//! What this CPU counts of backends.

use aya_ebpf::{Global, helpers::bpf_get_smp_processor_id};
use balancer_common::abi::{CounterLayout, Traffic, arena::COUNTERS};

use super::arena;

#[unsafe(no_mangle)]
static COUNTERS_OF_CPU: Global<u32> = Global::new(16_387);

/// The counters of a backend.
#[inline(always)]
pub(crate) fn counters(backend: u32) -> &'static mut Traffic {
    let layout = CounterLayout {
        of_cpu: COUNTERS_OF_CPU.load(),
    };
    // SAFETY: the helper takes nothing and changes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let counters = arena::record_mut(&COUNTERS, layout.of_backend(cpu, backend));
    // SAFETY: a program is neither preempted by another on its CPU nor has two of these for one index at a time.
    unsafe { &mut (*counters).traffic }
}

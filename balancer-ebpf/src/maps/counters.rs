//! What this CPU counts of services and backends.

use aya_ebpf::{Global, helpers::bpf_get_smp_processor_id};
use balancer_common::abi::{CounterLayout, Traffic, arena::COUNTERS};

use super::arena;

#[unsafe(no_mangle)]
static COUNTERS_OF_SERVICES: Global<u32> = Global::new(4_097);
#[unsafe(no_mangle)]
static COUNTERS_OF_CPU: Global<u32> = Global::new(20_483);

/// The counters of a CPU.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    layout: CounterLayout,
    cpu: u32,
}

/// Those of this one.
#[inline(always)]
pub(crate) fn counters() -> Counters {
    Counters {
        layout: CounterLayout {
            services: COUNTERS_OF_SERVICES.load(),
            of_cpu: COUNTERS_OF_CPU.load(),
        },
        // SAFETY: the helper takes nothing and changes nothing.
        cpu: unsafe { bpf_get_smp_processor_id() } as u32,
    }
}

impl Counters {
    /// Those of a service.
    #[inline(always)]
    pub(crate) fn service(self, index: u32) -> &'static mut Traffic {
        Self::at(self.layout.of_service(self.cpu, index))
    }

    /// Those of a backend.
    #[inline(always)]
    pub(crate) fn backend(self, index: u32) -> &'static mut Traffic {
        Self::at(self.layout.of_backend(self.cpu, index))
    }

    #[inline(always)]
    fn at(number: u32) -> &'static mut Traffic {
        // SAFETY: a program is neither preempted by another on its CPU nor has two of these for one index at a time.
        unsafe { &mut (*arena::record_mut(&COUNTERS, number)).traffic }
    }
}

//! The data plane's clock, seen from the daemon.

use std::time::Duration;

use anyhow::ensure;
use balancer_common::{abi::Tick, affinity::Lifetimes};
use rustix::time::{ClockId, clock_getres};

/// How long the kernel takes from one timer tick to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerTick(Duration);

impl TimerTick {
    /// What the kernel's coarse clock can tell apart, which is its timer tick.
    pub fn of_kernel() -> anyhow::Result<Self> {
        let resolution = clock_getres(ClockId::MonotonicCoarse);
        let tick = Duration::new(u64::try_from(resolution.tv_sec)?, u32::try_from(resolution.tv_nsec)?);
        ensure!(!tick.is_zero(), "the kernel does not say how long its timer tick is");
        Ok(Self(tick))
    }

    /// A duration in units of [`Tick`], rounded up, so that nothing is forgotten early, and at least one.
    pub fn units(self, duration: Duration) -> u32 {
        let unit = self.0.as_nanos() << Tick::SHIFT;
        let units = duration.as_nanos().div_ceil(unit);
        u32::try_from(units).unwrap_or(u32::MAX).max(1)
    }

    /// How much time so many units of [`Tick`] are.
    pub fn duration(self, units: u32) -> Duration {
        (self.0 * units).saturating_mul(1 << Tick::SHIFT)
    }

    /// How long flows are remembered that are not in use.
    pub(super) fn lifetimes(self) -> Lifetimes {
        let units = |seconds| self.units(Duration::from_secs(seconds));
        Lifetimes {
            opening: units(Lifetimes::OPENING_SECONDS),
            half_closed: units(Lifetimes::HALF_CLOSED_SECONDS),
            closed: units(Lifetimes::CLOSED_SECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up_to_whole_units() {
        let tick = TimerTick(Duration::from_millis(4));
        for (milliseconds, units) in [(0, 1), (1, 1), (256, 1), (257, 2), (10_000, 40)] {
            assert_eq!(
                tick.units(Duration::from_millis(milliseconds)),
                units,
                "{milliseconds} ms"
            );
        }
        assert_eq!(tick.units(Duration::MAX), u32::MAX);
        assert_eq!(tick.duration(40), Duration::from_millis(10_240));
    }

    #[test]
    fn this_kernel_has_a_timer_tick() {
        let TimerTick(tick) = TimerTick::of_kernel().unwrap();
        assert!((Duration::from_micros(500)..=Duration::from_millis(10)).contains(&tick));
    }
}

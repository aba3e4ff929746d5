//! When a target is probed.
//!
//! Time is divided into intervals from the checker's start on, and each target has its own place in them, so that however
//! many there are, they are never asked all at once: not at the start, and not after something has held them all up.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash},
    time::Duration,
};

/// Time that each target adds to that over which the first probes of targets that start together are spread.
const SPREAD_PER_TARGET: Duration = Duration::from_millis(1);
/// Longest time over which first probes are spread.
const MAX_SPREAD: Duration = Duration::from_secs(1);

/// A target's place in any interval, as a share of it in units of 2⁻³².
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase(u32);

impl Phase {
    /// The phase of the target called `key`, always the same.
    pub(super) fn of(key: &impl Hash) -> Self {
        Self((BuildHasherDefault::<DefaultHasher>::default().hash_one(key) >> 32) as u32)
    }

    /// How long the first probe waits, if the target is one of `together` that start at the same time.
    ///
    /// One alone starts at once; many make haste, but not in one burst.
    pub(super) fn first_delay(self, together: usize, interval: Duration) -> Duration {
        let others = u32::try_from(together.saturating_sub(1)).unwrap_or(u32::MAX);
        let window = SPREAD_PER_TARGET.saturating_mul(others).min(MAX_SPREAD).min(interval);
        self.place_in(window)
    }

    /// When the probe after one that ran from `started` to `ended` starts, all counted from the checker's start: at the
    /// target's place in the interval after `started`, but never before `ended`.
    ///
    /// It is at most `interval` after `started` unless the probe took longer, and just that once the target has found its
    /// place.
    pub(super) fn next_start(self, started: Duration, ended: Duration, interval: Duration) -> Duration {
        let [length, place] = [interval, self.place_in(interval)].map(|time| time.as_nanos());
        let since_place = (started.as_nanos() + length - place) % length.max(1);
        ended.max(started + from_nanos(length - since_place))
    }

    fn place_in(self, interval: Duration) -> Duration {
        from_nanos((interval.as_nanos() * u128::from(self.0)) >> 32)
    }
}

/// Some part of an interval, of which none is too long for this.
fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_target_alone_starts_at_once() {
        for key in 0..100 {
            assert_eq!(Phase::of(&key).first_delay(1, SECOND), Duration::ZERO);
        }
    }

    /// Asserts that all targets come within `window`, about as many in each tenth of it.
    fn fill_evenly(times: impl Iterator<Item = Duration>, window: Duration) {
        let mut tenths = [0; 10];
        for time in times {
            assert!(time <= window, "{time:?} is after {window:?}");
            let tenth = (time.as_nanos() * 10 / window.as_nanos()).min(9);
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn first_probes_fill_their_window_evenly() {
        let cases = [
            (101, 10 * SECOND, Duration::from_millis(100)),
            (2000, 10 * SECOND, SECOND),
            (2000, SECOND / 2, SECOND / 2),
        ];
        for (together, interval, window) in cases {
            let delay = |key| Phase::of(&key).first_delay(together, interval);
            fill_evenly((0..10_000).map(delay), window);
        }
    }

    #[test]
    fn targets_that_were_held_up_together_come_apart_again() {
        let next = |key| Phase::of(&key).next_start(10 * SECOND, 10 * SECOND, 10 * SECOND);
        let waits = (0..10_000).map(|key| next(key).checked_sub(10 * SECOND).unwrap());
        fill_evenly(waits, 10 * SECOND);
    }

    proptest! {
        #[test]
        fn a_target_finds_its_place_and_keeps_it(
            key: u64,
            started in 0..10_u64.pow(12),
            latencies in prop::collection::vec(0..100_u64, 1..9),
            interval in 1000..10_u64.pow(12),
        ) {
            let (phase, interval) = (Phase::of(&key), Duration::from_nanos(interval));
            let mut started = Duration::from_nanos(started);
            for (number, latency) in latencies.into_iter().enumerate() {
                let next = phase.next_start(started, started + Duration::from_nanos(latency), interval);
                prop_assert!(started < next && next <= started + interval);
                prop_assert!(number < 2 || next == started + interval);
                started = next;
            }
        }

        #[test]
        fn a_probe_starts_at_once_after_one_that_took_too_long(
            key: u64,
            started in 0..10_u64.pow(12),
            interval in 1..10_u64.pow(12),
            excess in 0..10_u64.pow(12),
        ) {
            let interval = Duration::from_nanos(interval);
            let started = Duration::from_nanos(started);
            let ended = started + interval + Duration::from_nanos(excess);
            prop_assert_eq!(Phase::of(&key).next_start(started, ended, interval), ended);
        }
    }
}

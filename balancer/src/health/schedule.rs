//! When a target is probed.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash},
    time::Duration,
};

use tokio::time::Instant;

/// Time that each target adds to that over which the first probes of targets that start together are spread.
const SPREAD_PER_TARGET: Duration = Duration::from_millis(1);
/// Longest time over which first probes are spread.
const MAX_SPREAD: Duration = Duration::from_secs(1);

/// How long the first probe of the target called `key` waits, one of `together` that start at the same time.
///
/// One alone starts at once. Many would otherwise hit the network and this host in one burst, again at each interval.
pub(super) fn first_delay(key: &impl Hash, together: usize, interval: Duration) -> Duration {
    let others = u32::try_from(together.saturating_sub(1)).unwrap_or(u32::MAX);
    let window = SPREAD_PER_TARGET.saturating_mul(others).min(MAX_SPREAD).min(interval);
    let share = (BuildHasherDefault::<DefaultHasher>::default().hash_one(key) >> 32) as u32;
    window * share / u32::MAX
}

/// When the probe after one that ran from `started` to `ended` starts: an interval after its start, but never before
/// its end.
pub(super) fn next_start(started: Instant, ended: Instant, interval: Duration) -> Instant {
    ended.max(started + interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_target_alone_starts_at_once() {
        for key in 0..100 {
            assert_eq!(first_delay(&key, 1, SECOND), Duration::ZERO);
        }
    }

    #[test]
    fn the_delay_depends_on_the_key_alone() {
        let delays: Vec<_> = (0..100).map(|key| first_delay(&key, 1000, SECOND)).collect();
        let again: Vec<_> = (0..100).map(|key| first_delay(&key, 1000, SECOND)).collect();
        assert_eq!(delays, again);
    }

    #[test]
    fn first_probes_fill_their_window_evenly() {
        let cases = [
            (101, 10 * SECOND, Duration::from_millis(100)),
            (2000, 10 * SECOND, SECOND),
            (2000, SECOND / 2, SECOND / 2),
        ];
        for (together, interval, window) in cases {
            let mut tenths = [0; 10];
            for key in 0..10_000 {
                let delay = first_delay(&key, together, interval);
                assert!(delay <= window, "{delay:?} is after {window:?}");
                let tenth = (delay.as_nanos() * 10 / window.as_nanos()).min(9);
                tenths[usize::try_from(tenth).unwrap()] += 1;
            }
            assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn the_next_probe_starts_an_interval_after_the_last_or_when_that_ends() {
        let started = Instant::now();
        for (took, expected) in [(0, 1000), (300, 1000), (1000, 1000), (2500, 2500)] {
            let ended = started + Duration::from_millis(took);
            assert_eq!(
                next_start(started, ended, SECOND),
                started + Duration::from_millis(expected)
            );
        }
    }
}

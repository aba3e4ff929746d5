//! Flap damping: a backend that goes down again and again does not come up by a few successes alone.

use std::{collections::VecDeque, time::Duration};

use crate::config::HealthCheck;

/// When damping sets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damping {
    /// How often a backend may go down within `window` before it is held down; 0 never holds it.
    pub(super) limit: u32,
    /// How long each time counts.
    pub(super) window: Duration,
}

impl From<&HealthCheck> for Damping {
    fn from(check: &HealthCheck) -> Self {
        Self {
            limit: check.flap_limit,
            window: check.flap_window,
        }
    }
}

/// When a backend went down, as far as that counts. Times are counted from any common start.
#[derive(Clone, Debug, Default)]
pub(super) struct Downs(VecDeque<Duration>);

impl Downs {
    /// Those that lie so far back from `now`.
    pub(super) fn before(now: Duration, ages: &[Duration], damping: Damping) -> Self {
        let mut times: Vec<_> = ages.iter().map(|age| now.saturating_sub(*age)).collect();
        times.sort_unstable();
        let mut downs = Self::default();
        for at in times {
            downs.note(at, damping);
        }
        downs
    }

    /// Notes that it went down.
    pub(super) fn note(&mut self, at: Duration, damping: Damping) {
        self.0.push_back(at);
        // One more than the limit decides.
        while self.0.len() > damping.limit as usize + 1 {
            self.0.pop_front();
        }
    }

    /// Until when it stays down, however well it does: until it has gone down no more than `limit` times within `window`.
    pub(super) fn held_until(&self, damping: Damping) -> Option<Duration> {
        if damping.limit == 0 {
            return None;
        }
        let decisive = self.0.len().checked_sub(damping.limit as usize + 1)?;
        Some(*self.0.get(decisive)? + damping.window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn downs(seconds: &[u64], damping: Damping) -> Downs {
        let mut downs = Downs::default();
        for &at in seconds {
            downs.note(Duration::from_secs(at), damping);
        }
        downs
    }

    fn damping(limit: u32, window: u64) -> Damping {
        Damping {
            limit,
            window: Duration::from_secs(window),
        }
    }

    #[test]
    fn who_goes_down_more_often_than_the_limit_is_held_until_enough_of_it_is_past() {
        // Limit, window, when it went down, and until when it is held.
        let cases: [(u32, u64, &[u64], Option<u64>); 9] = [
            (0, 100, &[1, 2, 3, 4], None),
            (2, 100, &[], None),
            (2, 100, &[10, 20], None),
            (2, 100, &[10, 20, 30], Some(110)),
            (2, 100, &[10, 20, 30, 40], Some(120)),
            // So long ago that it is over when the last one comes.
            (2, 100, &[10, 20, 300], Some(110)),
            (1, 100, &[10], None),
            (1, 100, &[10, 20], Some(110)),
            (1, 5, &[10, 20, 30], Some(25)),
        ];
        for (limit, window, times, expected) in cases {
            let damping = damping(limit, window);
            let held = downs(times, damping).held_until(damping);
            assert_eq!(
                held,
                expected.map(Duration::from_secs),
                "{limit} in {window}: {times:?}"
            );
        }
    }

    #[test]
    fn what_lies_back_counts_whatever_its_order() {
        let damping = damping(1, 100);
        let ages = [10, 70].map(Duration::from_secs);
        let downs = Downs::before(Duration::from_secs(1_000), &ages, damping);
        assert_eq!(downs.held_until(damping), Some(Duration::from_secs(1_030)));
    }

    proptest! {
        #[test]
        fn it_is_held_exactly_while_more_than_the_limit_lie_within_the_window(
            mut times in prop::collection::vec(0..1_000_u64, 0..30),
            limit in 1..5_u32,
            window in 1..500_u64,
            after in 0..1_000_u64,
        ) {
            times.sort_unstable();
            let now = times.last().copied().unwrap_or(0) + after;
            let damping = damping(limit, window);
            let within = times.iter().filter(|&&at| at + window > now).count();
            let held = downs(&times, damping).held_until(damping).is_some_and(|until| Duration::from_secs(now) < until);
            prop_assert_eq!(held, within > limit as usize);
        }
    }
}

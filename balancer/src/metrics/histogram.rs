//! Durations by how long they were.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::exposition::{Family, Labels};

/// Counts of durations up to each of `N` bounds, and beyond the last.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [Bound; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    nanoseconds: AtomicU64,
}

/// An upper bound in seconds, and as the format writes it. The bounds of a histogram ascend.
pub(super) type Bound = (f64, &'static str);

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Durations by the lowest bound that is not below them, and then those beyond the last.
    counts: Vec<u64>,
    /// The sum of all durations.
    nanoseconds: u64,
}

impl<const N: usize> Histogram<N> {
    /// A histogram that goes on from `figures`, or from nothing if they are of other bounds.
    pub(super) fn new(bounds: &'static [Bound; N], figures: &Figures) -> Self {
        let known = figures.counts.len() == N + 1;
        let count = |index: usize| AtomicU64::new(figures.counts.get(index).copied().filter(|_| known).unwrap_or(0));
        Self {
            bounds,
            counts: std::array::from_fn(count),
            beyond: count(N),
            nanoseconds: AtomicU64::new(if known { figures.nanoseconds } else { 0 }),
        }
    }

    /// Counts a duration.
    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self
            .bounds
            .iter()
            .zip(&self.counts)
            .find(|((bound, _), _)| seconds <= *bound);
        bucket
            .map_or(&self.beyond, |(_, count)| count)
            .fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What it has counted.
    pub(super) fn figures(&self) -> Figures {
        let counts = self.counts.iter().chain([&self.beyond]);
        Figures {
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

impl Figures {
    /// Writes the samples of a histogram with these bounds: counts up to each bound, as the format wants them, sum and count.
    pub(super) fn write(&self, bounds: &[Bound], family: &mut Family<'_>, labels: &Labels) {
        let bounds = bounds.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut count = 0;
        for (bound, bucket) in bounds.zip(&self.counts) {
            count += bucket;
            family.part("_bucket", labels, Some(bound), count);
        }
        family.part(
            "_sum",
            labels,
            None,
            Duration::from_nanos(self.nanoseconds).as_secs_f64(),
        );
        family.part("_count", labels, None, count);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::exposition::{Exposition, Kind},
        *,
    };

    const BOUNDS: [Bound; 2] = [(0.001, "0.001"), (0.1, "0.1")];

    #[test]
    fn durations_are_counted_up_to_each_bound_and_figures_go_on() {
        let histogram = Histogram::new(&BOUNDS, &Figures::default());
        for micros in [1, 1_000, 1_001, 100_000, 2_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let histogram = Histogram::new(&BOUNDS, &histogram.figures());
        histogram.observe(Duration::from_millis(1));
        let text = Exposition::text_of(|exposition| {
            let mut family = exposition.family(Kind::Histogram, "d", "D.");
            let labels = Labels::new([("of", "x")]);
            histogram.figures().write(&BOUNDS, &mut family, &labels);
        });
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "d_bucket{of=\"x\",le=\"0.001\"} 3",
            "d_bucket{of=\"x\",le=\"0.1\"} 5",
            "d_bucket{of=\"x\",le=\"+Inf\"} 6",
            "d_sum{of=\"x\"} 2.103002",
            "d_count{of=\"x\"} 6",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn figures_of_other_bounds_do_not_count() {
        let other = Histogram::new(&[(1.0, "1")], &Figures::default());
        other.observe(Duration::from_secs(2));
        let histogram = Histogram::new(&BOUNDS, &other.figures());
        assert_eq!(
            histogram.figures(),
            Histogram::new(&BOUNDS, &Figures::default()).figures()
        );
    }
}

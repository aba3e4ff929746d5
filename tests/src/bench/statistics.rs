//! What many measurements of the same thing say.

use serde::Serialize;

/// Summary of measurements. The machine is shared, so none of them is too short but some are too long: the median is what
/// to expect, the minimum what it takes when nothing disturbs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Summary {
    /// The value in the middle.
    pub(super) median: f64,
    /// The least.
    pub(super) minimum: f64,
    /// Half of the values are no further apart than this (the interquartile range).
    pub(super) spread: f64,
}

impl Summary {
    /// Of these values.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        Self {
            median: quantile(2),
            minimum: quantile(0),
            spread: quantile(3) - quantile(1),
        }
    }

    /// What remains when something that was measured apart is taken away.
    #[must_use]
    pub(super) fn above(self, other: Self) -> Self {
        Self {
            median: self.median - other.median,
            minimum: self.minimum - other.minimum,
            spread: self.spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_change_neither_median_nor_minimum() {
        let calm = Summary::of([1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            calm,
            Summary {
                median: 3.0,
                minimum: 1.0,
                spread: 2.0
            }
        );
        let disturbed = Summary::of([5.0, 3.0, 1.0, 4000.0, 2.0]);
        assert_eq!((disturbed.median, disturbed.minimum), (calm.median, calm.minimum));
    }

    #[test]
    fn one_value_says_it_all() {
        assert_eq!(
            Summary::of([7.0]),
            Summary {
                median: 7.0,
                minimum: 7.0,
                spread: 0.0
            }
        );
    }

    #[test]
    fn a_difference_is_that_of_like_with_like() {
        let difference = Summary::of([10.0, 12.0, 17.0]).above(Summary::of([4.0, 5.0, 6.0]));
        assert_eq!((difference.median, difference.minimum), (7.0, 6.0));
    }
}

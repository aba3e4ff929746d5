//! The order in which backends take turns.

use std::{cmp::Ordering, collections::BinaryHeap, ops::Range};

/// An endless sequence of turns, as indices of the backends; empty if there are none.
///
/// A backend of weight `w` is due at the times `1/2w`, `3/2w`, `5/2w` and so on. Its times depend on no other backend,
/// so the turns of the others keep their order when it comes, goes or changes weight, and after any number of turns
/// each backend has had its share of them to within rounding. Of those due at the same time the heavier go first, then
/// those of lower index. Among equal weights that makes rounds, as in the paper.
pub(super) struct Turns {
    groups: BinaryHeap<Group>,
    /// Who is still to have a turn at the present time.
    due: Range<usize>,
}

/// The backends of one weight, which are always due together.
struct Group {
    weight: u32,
    /// The next time, in units of `1/2w`: an odd number.
    time: u32,
    members: Range<usize>,
}

impl Turns {
    /// The turns of backends with the given weights, which descend and are not 0. Fewer than 2³¹ can be taken.
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut first = 0;
        let groups = weights
            .chunk_by(PartialEq::eq)
            .map(|equal| {
                let members = first..first + equal.len();
                first = members.end;
                Group {
                    weight: equal[0],
                    time: 1,
                    members,
                }
            })
            .collect();
        Self { groups, due: 0..0 }
    }
}

impl Iterator for Turns {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.due.is_empty() {
            let mut group = self.groups.peek_mut()?;
            self.due = group.members.clone();
            group.time += 2;
        }
        self.due.next()
    }
}

impl Ord for Group {
    /// The greatest is due first, as [`BinaryHeap`] wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        let own = u64::from(self.time) * u64::from(other.weight);
        let others = u64::from(other.time) * u64::from(self.weight);
        others.cmp(&own).then(self.weight.cmp(&other.weight))
    }
}

impl PartialOrd for Group {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Group {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_go_round() {
        let turns: Vec<usize> = Turns::new(&[7, 7, 7]).take(7).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn unequal_weights_interleave() {
        let turns: Vec<usize> = Turns::new(&[4, 2, 1]).take(14).collect();
        assert_eq!(turns, [0, 1, 0, 2, 0, 1, 0, 0, 1, 0, 2, 0, 1, 0]);
    }

    #[test]
    fn only_the_ratio_of_weights_counts() {
        let hundreds = Turns::new(&[300, 200, 200, 100]).take(1_000);
        assert!(hundreds.eq(Turns::new(&[3, 2, 2, 1]).take(1_000)));
    }

    #[test]
    fn no_backends_take_no_turns() {
        assert_eq!(Turns::new(&[]).next(), None);
    }
}

//! Filling a table from the backends' permutations.

/// A backend on its way through its permutation of the slots: from a slot it goes on by `skip`, around the end.
pub(super) struct Walk {
    /// The slot that it comes to next, or the one that it got last.
    pub(super) slot: u32,
    /// From 1 to one less than the number of slots.
    pub(super) skip: u32,
    /// What marks its slots in the table.
    pub(super) value: u32,
}

/// Gives each slot, in the order of `turns`, to the walk that comes to it first. Without turns the table stays zero.
///
/// `size` is a prime below 2³¹.
pub(super) fn fill(walks: &mut [Walk], mut turns: impl Iterator<Item = usize>, size: u32) -> Vec<u32> {
    let mut table = vec![0; size as usize];
    let mut taken = Bitmap::new(size);
    // A walk tries `size / free` slots before it meets a free one, and half of all tries are made for the last
    // `sqrt(size)` slots. From there on it is less work to ask each free slot how far away it is.
    let last = size.isqrt();

    for turn in turns.by_ref().take((size - last) as usize) {
        let walk = &mut walks[turn];
        while taken.contains(walk.slot) {
            walk.slot = add(walk.slot, walk.skip, size);
        }
        taken.insert(walk.slot);
        table[walk.slot as usize] = walk.value;
    }

    let mut free: Vec<u32> = (0..size).filter(|&slot| !taken.contains(slot)).collect();
    for turn in turns.take(last as usize) {
        let walk = &mut walks[turn];
        if let Some(nearest) = walk.nearest(&free, size) {
            walk.slot = free.swap_remove(nearest);
            table[walk.slot as usize] = walk.value;
        }
    }
    table
}

impl Walk {
    /// Which of the slots in `free` it comes to first, as an index into them.
    ///
    /// A slot `d` further on in the table is `d · skip⁻¹ mod size` steps away. Only the order of these counts, so they
    /// are compared as fractions of `size` in units of 2⁻⁶⁴: a wrapping product leaves just the fraction. As `d` and
    /// `size` are below 2³¹, rounding adds less than 2³¹ units, and steps lie more than 2³³ apart.
    fn nearest(&self, free: &[u32], size: u32) -> Option<usize> {
        let steps = fraction(inverse(self.skip, size), size);
        let distance = |slot: u32| {
            let further = slot.wrapping_sub(self.slot);
            u64::from(further.min(further.wrapping_add(size))).wrapping_mul(steps)
        };
        (0..free.len()).min_by_key(|&index| distance(free[index]))
    }
}

/// `a + b mod size` of two smaller than `size`. Where there is no `size` to take off, the difference wraps and is the
/// greater.
#[inline(always)]
fn add(a: u32, b: u32, size: u32) -> u32 {
    let sum = a + b;
    sum.min(sum.wrapping_sub(size))
}

/// The number that `a` is to be multiplied with for 1 modulo the prime `size` (extended Euclidean algorithm).
fn inverse(a: u32, size: u32) -> u32 {
    let (mut remainder, mut next_remainder) = (i64::from(size), i64::from(a));
    let (mut factor, mut next_factor) = (0, 1);
    while next_remainder != 0 {
        let quotient = remainder / next_remainder;
        (remainder, next_remainder) = (next_remainder, remainder - quotient * next_remainder);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    u32::try_from(factor.rem_euclid(i64::from(size))).expect("a remainder is smaller than its 32-bit divisor")
}

/// `numerator / size` in units of 2⁻⁶⁴, rounded up.
fn fraction(numerator: u32, size: u32) -> u64 {
    let units = (u128::from(numerator) << 64).div_ceil(u128::from(size));
    u64::try_from(units).expect("the numerator is smaller than the size")
}

/// A set of slots. One bit for each keeps the whole set in the innermost caches.
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn new(size: u32) -> Self {
        Self(vec![0; size.div_ceil(u64::BITS) as usize])
    }

    #[inline(always)]
    fn contains(&self, slot: u32) -> bool {
        self.0[(slot / u64::BITS) as usize] >> (slot % u64::BITS) & 1 != 0
    }

    #[inline(always)]
    fn insert(&mut self, slot: u32) {
        self.0[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1 of the paper: three backends over seven slots, before and after the second is removed.
    #[test]
    fn the_example_of_the_paper_comes_out() {
        let walk = |slot, skip, value| Walk { slot, skip, value };
        let (b0, b1, b2) = ((3, 4, 10), (0, 2, 11), (3, 1, 12));
        let table = |backends: &[(u32, u32, u32)]| {
            let mut walks: Vec<Walk> = backends
                .iter()
                .map(|&(slot, skip, value)| walk(slot, skip, value))
                .collect();
            fill(&mut walks, (0..backends.len()).cycle(), 7)
        };
        assert_eq!(table(&[b0, b1, b2]), [11, 10, 11, 10, 12, 12, 10]);
        assert_eq!(table(&[b0, b2]), [10, 10, 10, 10, 12, 12, 12]);
    }

    #[test]
    fn an_inverse_undoes_a_skip() {
        for size in [2, 3, 7, 251, 65_537, 2_147_483_647] {
            for a in [1, 2, size / 2, size - 2, size - 1] {
                if (1..size).contains(&a) {
                    let product = u64::from(a) * u64::from(inverse(a, size)) % u64::from(size);
                    assert_eq!(product, 1, "{a} modulo {size}");
                }
            }
        }
    }

    /// At the largest size the margin for rounding is the smallest.
    #[test]
    fn the_nearest_slot_is_the_one_with_the_fewest_steps() {
        for size in [7, 65_537, 2_147_483_647] {
            for (slot, skip) in [
                (0, 1),
                (size - 1, size - 1),
                (size / 3, size / 2),
                (5, 3),
                (1, size - 2),
            ] {
                let mut walk = Walk { slot, skip, value: 1 };
                let steps: Vec<u32> = (0..6)
                    .map(|_| {
                        let slot = walk.slot;
                        walk.slot = add(walk.slot, skip, size);
                        slot
                    })
                    .collect();
                walk.slot = slot;
                for first in 0..6 {
                    let free: Vec<u32> = steps[first..].iter().rev().copied().collect();
                    assert_eq!(walk.nearest(&free, size), Some(free.len() - 1), "{slot} {skip} {size}");
                }
            }
        }
    }
}

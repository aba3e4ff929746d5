//! How many clients one table sends elsewhere than another.

/// The share of clients, 0 to 1, that have a backend by the table `before` and another one, or none, by `after`. The tables
/// may differ in size: a client's hash is scaled to each.
pub fn moved(before: &[u32], after: &[u32]) -> f64 {
    let (sizes, mut total) = ((before.len() as u64, after.len() as u64), 0_u64);
    // The hash space has `before.len() · after.len()` units, so slots of either table begin and end at whole ones.
    let (mut position, mut slot_before, mut slot_after) = (0, 0, 0);
    while let (Some(&old), Some(&new)) = (before.get(slot_before), after.get(slot_after)) {
        let (end_before, end_after) = ((slot_before as u64 + 1) * sizes.1, (slot_after as u64 + 1) * sizes.0);
        let end = end_before.min(end_after);
        if old != 0 && old != new {
            total += end - position;
        }
        slot_before += usize::from(end == end_before);
        slot_after += usize::from(end == end_after);
        position = end;
    }
    share(total, sizes.0 * sizes.1)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the units of two of the largest tables are fewer than 2^52"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use balancer_common::hash;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_that_had_a_backend_and_get_another_have_moved() {
        for (before, after, expected) in [
            (&[1, 2, 3, 4][..], &[1, 2, 3, 4][..], 0.0),
            (&[1, 2, 3, 4], &[1, 2, 1, 2], 0.5),
            (&[1, 1], &[2, 2], 1.0),
            // Who had none has not moved; who gets none has.
            (&[0, 0], &[1, 1], 0.0),
            (&[1, 1], &[0, 0], 1.0),
            // Other sizes.
            (&[1, 2], &[1, 1, 2, 2], 0.0),
            (&[1, 2], &[1, 1, 1, 2], 0.25),
            (&[1, 2], &[1, 2, 2], 1.0 / 6.0),
            (&[1], &[1; 7], 0.0),
            (&[], &[1, 2], 0.0),
        ] {
            let found = moved(before, after);
            assert!((found - expected).abs() < 1e-9, "{before:?} {after:?}: {found}");
        }
    }

    proptest! {
        /// Against hashes that are spread evenly over the whole range, as the data plane scales them.
        #[test]
        fn the_share_is_that_of_hashes_with_another_backend(
            before in prop::collection::vec(0_u32..4, 1..40),
            after in prop::collection::vec(0_u32..4, 1..40),
        ) {
            const HASHES: u32 = 1 << 14;
            let owner = |table: &[u32], hash| table[hash::scale(hash, u32::try_from(table.len()).unwrap()) as usize];
            let differing = (0..HASHES).map(|number| number << 18).filter(|&hash| {
                let (old, new) = (owner(&before, hash), owner(&after, hash));
                old != 0 && old != new
            });
            let sampled = f64::from(u32::try_from(differing.count()).unwrap()) / f64::from(HASHES);
            prop_assert!((moved(&before, &after) - sampled).abs() < 0.01);
        }
    }
}

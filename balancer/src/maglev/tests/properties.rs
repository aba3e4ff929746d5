use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr, ops::Range};

use proptest::{collection::btree_map, prelude::*, sample::select};
use xxhash_rust::xxh64::xxh64;

use super::{counts, size};
use crate::maglev::{Candidate, OFFSET_SEED, SKIP_SEED, build, stand_in::stand_in};

const SIZES: [u32; 8] = [2, 3, 7, 13, 101, 251, 1_021, 4_099];

/// `number` backends at distinct endpoints with weights drawn from `weights`.
fn candidates(number: Range<usize>, weights: impl Strategy<Value = u32>) -> impl Strategy<Value = Vec<Candidate>> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    btree_map((address, prop_oneof![Just(0), any::<u16>()]), weights, number).prop_map(|backends| {
        (1..)
            .zip(backends)
            .map(|(value, ((address, port), weight))| Candidate {
                address: address.into(),
                port: port.to_be_bytes(),
                weight,
                value,
                serves: true,
            })
            .collect()
    })
}

fn any_weights() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..5_u32, 90..110_u32, any::<u32>()]
}

/// The paper's pseudocode, line by line, with the next turn found by looking at every backend.
fn naive(candidates: &[Candidate], slots: u32) -> Vec<u32> {
    let mut serving: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.weight > 0).collect();
    serving.sort_by_key(|candidate| (Reverse(candidate.weight), candidate.identity()));
    let mut entry = vec![0; slots as usize];
    let mut turns_taken = vec![0_u128; serving.len()];
    let mut next = vec![0_u64; serving.len()];
    for _ in 0..slots {
        let due = (0..serving.len()).reduce(|first, other| {
            let time = |i: usize, j: usize| (2 * turns_taken[i] + 1) * u128::from(serving[j].weight);
            if time(other, first) < time(first, other) {
                other
            } else {
                first
            }
        });
        let Some(i) = due else { break };
        turns_taken[i] += 1;
        let offset = xxh64(&serving[i].identity(), OFFSET_SEED) % u64::from(slots);
        let skip = xxh64(&serving[i].identity(), SKIP_SEED) % u64::from(slots - 1) + 1;
        let permutation = |j: u64| usize::try_from((offset + j * skip) % u64::from(slots)).unwrap();
        while entry[permutation(next[i])] != 0 {
            next[i] += 1;
        }
        entry[permutation(next[i])] = serving[i].value;
        next[i] += 1;
    }
    entry
}

proptest! {
    #[test]
    fn the_table_equals_the_one_that_the_plain_algorithm_builds(
        candidates in candidates(0..40, any_weights()),
        slots in select(&SIZES),
    ) {
        prop_assert_eq!(build(&candidates, size(slots)), naive(&candidates, slots));
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        (candidates, shuffled) in candidates(0..40, any_weights()).prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
        slots in select(&SIZES),
    ) {
        prop_assert_eq!(build(&candidates, size(slots)), build(&shuffled, size(slots)));
    }

    #[test]
    fn every_slot_has_a_candidate_with_weight(candidates in candidates(0..40, any_weights()), slots in select(&SIZES)) {
        let weights: BTreeMap<u32, u32> = candidates.iter().map(|c| (c.value, c.weight)).collect();
        let table = build(&candidates, size(slots));
        prop_assert_eq!(table.len(), slots as usize);
        if weights.values().all(|&weight| weight == 0) {
            prop_assert!(table.iter().all(|&value| value == 0));
        } else {
            prop_assert!(table.iter().all(|value| weights[value] > 0));
        }
    }

    #[test]
    fn backends_of_equal_weight_differ_by_one_slot_at_most(
        candidates in candidates(0..40, prop_oneof![Just(0), Just(1), Just(3), Just(100)]),
        slots in select(&SIZES),
    ) {
        let counts = counts(&build(&candidates, size(slots)));
        for weight in [1, 3, 100] {
            let shares = candidates.iter().filter(|c| c.weight == weight).map(|c| counts.get(&c.value).unwrap_or(&0));
            if let (Some(least), Some(most)) = (shares.clone().min(), shares.max()) {
                prop_assert!(most - least <= 1, "weight {}: {} to {} slots", weight, least, most);
            }
        }
    }

    #[test]
    fn whoever_fails_or_returns_in_whatever_order_moves_its_own_slots_alone(
        candidates in candidates(1..40, 0..5_u32),
        serving in prop::collection::vec(any::<bool>(), 40),
        changed in any::<prop::sample::Index>(),
        slots in select(&SIZES),
    ) {
        let with = |serving: &[bool]| {
            let mut candidates = candidates.clone();
            for (candidate, serves) in candidates.iter_mut().zip(serving) {
                candidate.serves = *serves;
            }
            build(&candidates, size(slots))
        };
        let changed = changed.index(candidates.len());
        let [without, whole] = [false, true].map(|serves| {
            let mut serving = serving.clone();
            serving[changed] = serves;
            with(&serving)
        });
        let value = candidates[changed].value;
        let differing = without.iter().zip(&whole).filter(|(without, whole)| without != whole);
        prop_assert!(differing.into_iter().all(|(_, whole)| *whole == value));
        // Who stands in follows from the table as packets meet it before it is changed, too.
        let mut changed = whole.clone();
        stand_in(&mut changed, slots, &[value]);
        prop_assert_eq!(changed, without);
    }

    /// The bound is what rounding alone can do: half a slot for the backend itself, and for the end of the table half a
    /// slot of each other backend, of which its share falls to it.
    #[test]
    fn shares_follow_the_weights(candidates in candidates(0..40, 1..1_000_u32), slots in select(&SIZES)) {
        let counts = counts(&build(&candidates, size(slots)));
        let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        for candidate in &candidates {
            let part = f64::from(candidate.weight) / total;
            let due = part * f64::from(slots);
            let got = f64::from(counts.get(&candidate.value).copied().unwrap_or(0));
            let others = u32::try_from(candidates.len()).map(f64::from).unwrap();
            let bound = 0.5 + part * others / 2.0 + 1e-6;
            prop_assert!((got - due).abs() <= bound, "due {due}, got {got}, may differ by {bound}");
        }
    }

    /// Not all: a slot taken by a turn moves those that would have come to it later, and with two permutations of
    /// similar skips that goes on.
    #[test]
    fn removing_a_backend_leaves_most_slots_of_the_others(
        candidates in candidates(2..40, Just(100)),
        removed in any::<prop::sample::Index>(),
    ) {
        let removed = removed.index(candidates.len());
        let mut rest = candidates.clone();
        rest.remove(removed);
        let (before, after) = (build(&candidates, size(4_099)), build(&rest, size(4_099)));
        let kept = before.iter().filter(|&&value| value != candidates[removed].value).count();
        let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
        prop_assert!(stayed * 4 >= kept * 3, "{stayed} of {kept} slots stayed");
    }
}

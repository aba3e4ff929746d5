//! How even the shares are and how little a change disturbs. `cargo test quality -- --nocapture` shows the tables.

use super::{backends, counts, size};
use crate::maglev::{Candidate, build};

const SLOTS: u32 = 65_537;
/// A prime that is ten times as large.
const LARGE: u32 = 655_373;

/// The share of slots that passed from one backend to another though neither of `changed` had or has them.
fn disturbed(before: &[u32], after: &[u32], changed: &[u32]) -> f64 {
    let moved =
        |&(before, after): &(&u32, &u32)| before != after && !changed.contains(before) && !changed.contains(after);
    let moved = before.iter().zip(after).filter(moved).count();
    f64::from(u32::try_from(moved).unwrap()) / f64::from(SLOTS)
}

/// The least and the greatest share of a backend over what its weight entitles it to.
fn balance(candidates: &[Candidate], table: &[u32]) -> (f64, f64) {
    let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
    let counts = counts(table);
    candidates.iter().fold((f64::MAX, 0.0), |(least, most), candidate| {
        let ideal = f64::from(SLOTS) * f64::from(candidate.weight) / total;
        let ratio = f64::from(counts.get(&candidate.value).copied().unwrap_or(0)) / ideal;
        (ratio.min(least), ratio.max(most))
    })
}

#[test]
fn equal_backends_have_equal_shares_and_one_that_comes_or_goes_moves_little_else() {
    println!("backends | least / ideal | most / ideal | ideally moved, 1/N | moved besides | at most");
    for (number, bound) in [(3_u32, 0.005), (10, 0.01), (100, 0.01), (1_000, 0.01)] {
        let candidates = backends((0..number).map(|_| 100));
        let whole = build(&candidates, size(SLOTS));
        let (least, most) = balance(&candidates, &whole);

        // With the one removed read as before, and as after, it is the one added; what else moves is the same.
        let sample: Vec<f64> = (0..number)
            .step_by(number.div_ceil(10) as usize)
            .map(|removed| {
                let mut rest = candidates.clone();
                let removed = rest.remove(removed as usize).value;
                disturbed(&whole, &build(&rest, size(SLOTS)), &[removed])
            })
            .collect();
        let mean = sample.iter().sum::<f64>() / f64::from(u32::try_from(sample.len()).unwrap());
        let worst = sample.iter().copied().fold(0.0, f64::max);
        let ideal = 1.0 / f64::from(number);
        println!("{number:8} | {least:13.5} | {most:12.5} | {ideal:18.5} | {mean:13.5} | {worst:.5}");
        let slot = f64::from(number) / f64::from(SLOTS);
        assert!(
            least >= 1.0 - slot && most <= 1.0 + slot,
            "{number} backends: {least} to {most}"
        );
        assert!(worst <= bound, "{number} backends: {worst}");
    }
}

/// The bound is five times the standard deviation of what is left to chance: whose slot comes next.
#[test]
fn those_who_stand_in_share_evenly_and_nobody_else_moves() {
    println!("backends | down | least / ideal | most / ideal | deviation");
    for (number, down) in [
        (3_u32, 1),
        (10, 1),
        (10, 5),
        (100, 1),
        (100, 10),
        (100, 50),
        (1_000, 100),
    ] {
        let mut candidates = backends((0..number).map(|_| 100));
        let before = build(&candidates, size(SLOTS));
        for candidate in candidates
            .iter_mut()
            .step_by((number / down) as usize)
            .take(down as usize)
        {
            candidate.serves = false;
        }
        let after = build(&candidates, size(SLOTS));
        let serves = |value: u32| candidates[value as usize - 1].serves;
        let stays = |(before, after): (&u32, &u32)| before == after || !serves(*before);
        assert!(before.iter().zip(&after).all(stays) && after.iter().all(|&value| serves(value)));

        let serving: Vec<Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.serves)
            .copied()
            .collect();
        let (least, most) = balance(&serving, &after);
        let [number, down] = [number, down].map(f64::from);
        let due = f64::from(SLOTS) / (number - down);
        let stood_in = due * down / number;
        let deviation = (stood_in / (1.0 - down / number)).sqrt() / due;
        println!("{number:8} | {down:4} | {least:13.5} | {most:12.5} | {deviation:.5}");
        assert!(least > 1.0 - 5.0 * deviation && most < 1.0 + 5.0 * deviation);
    }
}

/// What the paper shows in section 5.3 (figure 12): a thousand backends, of which some fail at once.
#[test]
fn backends_that_go_at_once_move_little_else_the_less_the_larger_the_table() {
    println!("gone of 1,000 | slots | slots that changed | besides those of the gone");
    let candidates = backends((0..1_000).map(|_| 100));
    for gone in [1, 5, 10, 20] {
        let [small, large] = [SLOTS, LARGE].map(|slots| {
            let left = build(&candidates[gone..], size(slots));
            let whole = build(&candidates, size(slots));
            let share = |count: usize| f64::from(u32::try_from(count).unwrap()) / f64::from(slots);
            let differing = || whole.iter().zip(&left).filter(|(before, after)| before != after);
            let changed = share(differing().count());
            let besides = share(differing().filter(|(before, _)| **before as usize > gone).count());
            println!("{gone:13} | {slots:6} | {changed:18.5} | {besides:.5}");
            besides
        });
        assert!(large < small && small < 0.1, "{gone} gone: {large} {small}");
    }
}

#[test]
fn shares_are_within_a_hundredth_of_the_weights() {
    println!("weights | least / ideal | most / ideal");
    for (name, candidates) in [
        ("100, 50, 25, 1", backends([100, 50, 25, 1])),
        (
            "twenty of each of 100, 50, 25, 10",
            backends((0..80).map(|i| [100, 50, 25, 10][i % 4])),
        ),
        ("1 to 20", backends(1..=20)),
        (
            "one of 10, ninety-nine of 100",
            backends((0..100).map(|i| if i == 0 { 10 } else { 100 })),
        ),
    ] {
        let (least, most) = balance(&candidates, &build(&candidates, size(SLOTS)));
        println!("{name} | {least:.5} | {most:.5}");
        assert!(least > 0.99 && most < 1.01, "{name}: {least} to {most}");
    }
}

#[test]
fn a_change_of_weight_moves_little_but_its_difference() {
    println!("backends | weight | ideally moved | moved besides");
    for (number, weight) in [
        (10, 200),
        (10, 90),
        (10, 50),
        (10, 1),
        (10, 0),
        (100, 200),
        (100, 90),
        (100, 50),
    ] {
        let mut candidates = backends((0..number).map(|_| 100));
        let before = build(&candidates, size(SLOTS));
        let changed = &mut candidates[4];
        changed.weight = weight;
        let changed = changed.value;
        let after = build(&candidates, size(SLOTS));
        let share = f64::from(weight) / f64::from(weight + 100 * (number - 1));
        let ideal = (share - 1.0 / f64::from(number)).abs();
        let besides = disturbed(&before, &after, &[changed]);
        println!("{number:8} | {weight:6} | {ideal:13.5} | {besides:.5}");
        assert!(besides <= 0.01, "{number} backends, weight {weight}: {besides}");
    }
}

//! When to have the neighbours on the way to watched destinations resolved.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::table::{Neighbor, Resolution};

/// Time from the first question to the second, while there is no answer. It doubles with each one that follows.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest time between two questions.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The neighbours that are wanted, and when each is asked for next.
#[derive(Debug, Default)]
pub(super) struct Pursuits(HashMap<Neighbor, Pursuit>);

#[derive(Debug)]
struct Pursuit {
    /// When to ask next; `None` while there is no need.
    due: Option<Instant>,
    /// How long to wait after that, if there is no answer.
    wait: Duration,
    /// Whether it has been asked for at all.
    asked: bool,
    /// Whether it has failed to answer since it was last known. Each further question makes it pending in the kernel,
    /// which is no reason to take hope.
    silent: bool,
}

impl Pursuit {
    fn starting(now: Instant) -> Self {
        Self {
            due: Some(now),
            wait: FIRST_WAIT,
            asked: false,
            silent: false,
        }
    }
}

impl Pursuits {
    /// Makes `wanted` the neighbours that are pursued. A new one is asked for at once, be it known or not: the kernel is
    /// to learn that it should be kept. Returns those that are not wanted any more.
    pub(super) fn pursue(&mut self, wanted: &HashSet<Neighbor>, now: Instant) -> Vec<Neighbor> {
        for &neighbor in wanted {
            self.0.entry(neighbor).or_insert_with(|| Pursuit::starting(now));
        }
        self.0
            .extract_if(|neighbor, _| !wanted.contains(neighbor))
            .map(|(neighbor, _)| neighbor)
            .collect()
    }

    /// Takes note of how far each neighbour is resolved. One that has been lost is asked for at once.
    pub(super) fn update(&mut self, resolution: impl Fn(Neighbor) -> Resolution, now: Instant) {
        for (&neighbor, pursuit) in &mut self.0 {
            match resolution(neighbor) {
                Resolution::Known(_) => {
                    pursuit.silent = false;
                    pursuit.wait = FIRST_WAIT;
                    if pursuit.asked {
                        pursuit.due = None;
                    }
                }
                Resolution::Failed => {
                    pursuit.silent = true;
                    pursuit.due.get_or_insert(now);
                }
                Resolution::Pending => {
                    pursuit.due.get_or_insert(now);
                }
            }
        }
    }

    /// Takes the neighbours that are to be asked for now, and plans the next question for those that are not known.
    pub(super) fn take_due(&mut self, resolution: impl Fn(Neighbor) -> Resolution, now: Instant) -> Vec<Neighbor> {
        let mut due = Vec::new();
        for (&neighbor, pursuit) in &mut self.0 {
            if pursuit.due.is_none_or(|at| now < at) {
                continue;
            }
            due.push(neighbor);
            pursuit.asked = true;
            pursuit.due = match resolution(neighbor) {
                Resolution::Known(_) => None,
                Resolution::Pending | Resolution::Failed => {
                    let next = now + pursuit.wait;
                    pursuit.wait = LONGEST_WAIT.min(pursuit.wait * 2);
                    Some(next)
                }
            };
        }
        due
    }

    /// When the next question is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|pursuit| pursuit.due).min()
    }

    /// Has every neighbour asked for that is not asked for anyway.
    pub(super) fn renew(&mut self, now: Instant) {
        for pursuit in self.0.values_mut() {
            pursuit.due.get_or_insert(now);
        }
    }

    /// Whether `neighbor` is pursued.
    pub(super) fn contains(&self, neighbor: Neighbor) -> bool {
        self.0.contains_key(&neighbor)
    }

    /// Whether `neighbor` has failed to answer since it was last known.
    pub(super) fn is_silent(&self, neighbor: Neighbor) -> bool {
        self.0.get(&neighbor).is_some_and(|pursuit| pursuit.silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Resolution = Resolution::Known([2, 0, 0, 0, 0, 2]);

    fn neighbor(last: u8) -> Neighbor {
        Neighbor {
            interface: 2,
            address: [10, 0, 0, last].into(),
        }
    }

    fn pursuing(last: u8, now: Instant) -> Pursuits {
        let mut pursuits = Pursuits::default();
        pursuits.pursue(&HashSet::from([neighbor(last)]), now);
        pursuits
    }

    #[test]
    fn a_new_neighbor_is_asked_for_at_once_even_if_it_is_known() {
        let now = Instant::now();
        for resolution in [KNOWN, Resolution::Pending, Resolution::Failed] {
            let mut pursuits = pursuing(1, now);
            pursuits.update(|_| resolution, now);
            assert_eq!(pursuits.take_due(|_| resolution, now), [neighbor(1)], "{resolution:?}");
        }
    }

    #[test]
    fn a_known_neighbor_is_left_alone_until_it_is_lost_or_renewed() {
        let now = Instant::now();
        let mut pursuits = pursuing(1, now);
        pursuits.take_due(|_| Resolution::Pending, now);
        pursuits.update(|_| KNOWN, now);
        assert_eq!(pursuits.next_due(), None);

        pursuits.update(|_| Resolution::Pending, now);
        assert_eq!(pursuits.next_due(), Some(now));
        pursuits.take_due(|_| KNOWN, now);
        assert_eq!(pursuits.next_due(), None);

        pursuits.renew(now);
        assert_eq!(pursuits.next_due(), Some(now));
    }

    #[test]
    fn the_time_between_questions_doubles_up_to_a_bound() {
        let mut now = Instant::now();
        let mut pursuits = pursuing(1, now);
        let waits: Vec<u128> = std::iter::repeat_with(|| {
            pursuits.take_due(|_| Resolution::Failed, now);
            let due = pursuits.next_due().unwrap();
            let wait = due - now;
            now = due;
            wait.as_millis()
        })
        .take(7)
        .collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    }

    #[test]
    fn an_answer_resets_the_time_between_questions() {
        let now = Instant::now();
        let mut pursuits = pursuing(1, now);
        pursuits.take_due(|_| Resolution::Failed, now);
        let later = now + FIRST_WAIT;
        pursuits.take_due(|_| Resolution::Failed, later);
        pursuits.update(|_| KNOWN, later);

        let lost = later + LONGEST_WAIT;
        pursuits.update(|_| Resolution::Pending, lost);
        pursuits.take_due(|_| Resolution::Pending, lost);
        assert_eq!(pursuits.next_due(), Some(lost + FIRST_WAIT));
    }

    #[test]
    fn events_do_not_hasten_a_planned_question() {
        let now = Instant::now();
        let mut pursuits = pursuing(1, now);
        pursuits.take_due(|_| Resolution::Failed, now);
        pursuits.update(|_| Resolution::Failed, now);
        pursuits.renew(now);
        assert_eq!(pursuits.next_due(), Some(now + FIRST_WAIT));
        assert!(pursuits.take_due(|_| Resolution::Failed, now).is_empty());
    }

    #[test]
    fn a_silent_neighbor_stays_silent_until_it_answers() {
        let now = Instant::now();
        let mut pursuits = pursuing(1, now);
        for (resolution, silent) in [
            (Resolution::Pending, false),
            (Resolution::Failed, true),
            (Resolution::Pending, true),
            (KNOWN, false),
            (Resolution::Pending, false),
        ] {
            pursuits.update(|_| resolution, now);
            assert_eq!(pursuits.is_silent(neighbor(1)), silent, "{resolution:?}");
        }
    }

    #[test]
    fn who_is_not_wanted_any_more_is_let_go() {
        let now = Instant::now();
        let mut pursuits = pursuing(1, now);
        assert!(pursuits.contains(neighbor(1)));
        let released = pursuits.pursue(&HashSet::from([neighbor(2)]), now);
        assert_eq!(released, [neighbor(1)]);
        assert!(!pursuits.contains(neighbor(1)));
        assert!(pursuits.contains(neighbor(2)));
    }
}

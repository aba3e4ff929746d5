//! What the results of probes mean: health changes when enough of them in a row speak against it.

use std::{fmt, mem, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    damping::{Damping, Downs},
    probe::Failure,
};
use crate::{config::HealthCheck, wording::counted};

/// What is known of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing yet.
    Unknown,
    /// It serves.
    Up,
    /// It doesn't.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// What it takes to change a backend's health.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How many results in a row.
    pub(super) thresholds: Thresholds,
    /// How often it may go down.
    pub(super) damping: Damping,
}

impl From<&HealthCheck> for Policy {
    fn from(check: &HealthCheck) -> Self {
        Self {
            thresholds: check.into(),
            damping: check.into(),
        }
    }
}

/// How many results in a row it takes to change a backend's health; 0 works like 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Successes that bring a down backend up.
    pub(super) healthy: u32,
    /// Failures that take a backend down.
    pub(super) unhealthy: u32,
}

impl From<&HealthCheck> for Thresholds {
    fn from(check: &HealthCheck) -> Self {
        Self {
            healthy: check.healthy_threshold,
            unhealthy: check.unhealthy_threshold,
        }
    }
}

/// A backend's health and what speaks against it.
#[derive(Debug)]
pub(super) struct HealthState {
    health: Health,
    policy: Policy,
    /// Latest results in a row that contradict `health`.
    contradicting: u32,
    downs: Downs,
    /// Whether it is held down, and that has been told.
    held: bool,
}

/// A change of health, or one that is held up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// What the backend is from now on.
    pub(super) health: Health,
    /// Whether it would be up, but is held down since it went down too often.
    pub(super) damped: bool,
    /// Why, for logs.
    pub(super) cause: String,
}

impl HealthState {
    /// Starts from what is known, with no result for or against it.
    pub(super) fn new(health: Health, downs: Downs, policy: Policy) -> Self {
        Self {
            health,
            policy,
            contradicting: 0,
            downs,
            held: false,
        }
    }

    /// What the backend is.
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// Takes in the result of the next probe, which ended at `now`, counted from any common start; returns the change that
    /// it brings about, if any.
    ///
    /// The first success is enough for a backend of which nothing is known, so that a start does not wait for
    /// thresholds. A [local](Failure::is_local) failure is no result.
    pub(super) fn record(&mut self, result: &Result<(), Failure>, now: Duration) -> Option<Transition> {
        let thresholds = self.policy.thresholds;
        let (health, threshold) = match (self.health, result) {
            (_, Err(failure)) if failure.is_local() => return None,
            (Health::Up, Ok(())) | (Health::Down, Err(_)) => {
                self.contradicting = 0;
                return None;
            }
            (Health::Unknown, Ok(())) => {
                self.contradicting = 0;
                (Health::Up, 1)
            }
            (Health::Down, Ok(())) => (Health::Up, thresholds.healthy),
            (Health::Unknown | Health::Up, Err(_)) => (Health::Down, thresholds.unhealthy),
        };
        self.contradicting = self.contradicting.saturating_add(1);
        if self.contradicting < threshold {
            return None;
        }
        if health == Health::Down {
            self.downs.note(now, self.policy.damping);
        } else if let Some(left) = self.hold(now) {
            return self.tell_hold(result, left);
        }
        self.held = false;
        self.health = health;
        Some(Transition {
            health,
            damped: false,
            cause: cause(result, mem::take(&mut self.contradicting)),
        })
    }

    /// How long the backend is held down still.
    fn hold(&self, now: Duration) -> Option<Duration> {
        let left = self.downs.held_until(self.policy.damping)?.checked_sub(now)?;
        (self.health == Health::Down && !left.is_zero()).then_some(left)
    }

    /// The first time, says that the backend is held down for `left`.
    fn tell_hold(&mut self, result: &Result<(), Failure>, left: Duration) -> Option<Transition> {
        if mem::replace(&mut self.held, true) {
            return None;
        }
        let Damping { limit, window } = self.policy.damping;
        let [window, left] = [window, left.max(SECOND)].map(|time| {
            let whole = Duration::from_secs(time.as_secs());
            humantime::format_duration(if whole.is_zero() { time } else { whole }).to_string()
        });
        Some(Transition {
            health: Health::Down,
            damped: true,
            cause: format!(
                "{}, but it has gone down more than {} within {window}: it stays down for {left}",
                cause(result, self.contradicting),
                counted(limit.into(), "time", "times"),
            ),
        })
    }
}

/// Names the latest of `count` results of one kind in a row.
fn cause(result: &Result<(), Failure>, count: u32) -> String {
    let latest = match result {
        Ok(()) => "probe succeeded".to_owned(),
        Err(failure) => failure.to_string(),
    };
    match count {
        0 | 1 => latest,
        _ => format!("{latest} ×{count}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = policy(2, 3, 0);

    /// With a window of ten seconds.
    const fn policy(healthy: u32, unhealthy: u32, flap_limit: u32) -> Policy {
        Policy {
            thresholds: Thresholds { healthy, unhealthy },
            damping: Damping {
                limit: flap_limit,
                window: Duration::from_secs(10),
            },
        }
    }

    /// The result that a letter stands for: `s`uccess, `f`ailure, `l`ocal failure.
    fn result(letter: char) -> Result<(), Failure> {
        match letter {
            's' => Ok(()),
            'f' => Err(Failure::Status(503)),
            'l' => Err(Failure::Local("too many open files".into())),
            _ => unreachable!("no result is called {letter}"),
        }
    }

    #[test]
    fn health_changes_at_the_threshold_and_not_before() {
        use Health::{Down, Unknown, Up};
        // Where a row names no transition, none of its results may bring one about; else the last one must.
        let cases = [
            (Unknown, "s", Some((Up, "probe succeeded"))),
            (Unknown, "ff", None),
            (Unknown, "fff", Some((Down, "status 503 ×3"))),
            (Unknown, "ffs", Some((Up, "probe succeeded"))),
            (Up, "ffsff", None),
            (Up, "ffsfff", Some((Down, "status 503 ×3"))),
            (Up, "ssss", None),
            (Down, "sfs", None),
            (Down, "sfss", Some((Up, "probe succeeded ×2"))),
            (Down, "ffff", None),
            (Up, "llll", None),
            (Up, "flflf", Some((Down, "status 503 ×3"))),
            (Down, "sls", Some((Up, "probe succeeded ×2"))),
        ];
        for (initial, results, expected) in cases {
            let mut state = HealthState::new(initial, Downs::default(), POLICY);
            let mut transitions: Vec<_> = results
                .chars()
                .map(|letter| state.record(&result(letter), Duration::ZERO))
                .collect();
            let last = transitions.pop().flatten();
            assert!(
                transitions.iter().all(Option::is_none),
                "{initial:?} {results}: {transitions:?}"
            );
            let expected = expected.map(|(health, cause)| Transition {
                health,
                damped: false,
                cause: cause.to_owned(),
            });
            assert_eq!(last, expected, "{initial:?} {results}");
        }
    }

    #[test]
    fn a_threshold_of_one_names_the_failure_alone() {
        let mut state = HealthState::new(Health::Up, Downs::default(), policy(1, 1, 0));
        assert_eq!(state.record(&result('f'), Duration::ZERO).unwrap().cause, "status 503");
        assert_eq!(
            state.record(&result('s'), Duration::ZERO).unwrap().cause,
            "probe succeeded"
        );
    }

    #[test]
    fn a_backend_that_flaps_is_held_down_until_it_has_been_quiet() {
        // One probe a second, one of either kind decides; at most two downs in ten seconds. The health after each probe:
        // `U`p, `D`own, `H`eld down and told so.
        let cases = [
            // The third down, at second 4, counts with the first one until second 10.
            ("fsfsfsssssss", "DUDUDHDDDDUU"),
            // Failures while it is held neither prolong nor end it.
            ("fsfsfsfsfsss", "DUDUDHDDDDUU"),
            // It is still failing when the hold ends.
            ("fsfsfsffffffs", "DUDUDHDDDDDDU"),
            // A hold that is over does not make good what came before.
            ("fsfsfssssssfsfsfssssss", "DUDUDHDDDDUDUDUDHDDDDU"),
            // Slow enough.
            ("fssssfssssfssss", "DUUUUDUUUUDUUUU"),
        ];
        for (results, expected) in cases {
            let mut state = HealthState::new(Health::Up, Downs::default(), policy(1, 1, 2));
            let shown: String = (0..)
                .map(Duration::from_secs)
                .zip(results.chars())
                .map(|(now, letter)| match state.record(&result(letter), now) {
                    Some(Transition { damped: true, .. }) => 'H',
                    _ if state.health() == Health::Up => 'U',
                    _ => 'D',
                })
                .collect();
            assert_eq!(shown, expected, "{results}");
        }
    }

    #[test]
    fn a_hold_says_why_and_how_long() {
        let mut state = HealthState::new(Health::Up, Downs::default(), policy(2, 1, 1));
        let mut record = |letter, seconds| state.record(&result(letter), Duration::from_secs(seconds));
        for (letter, seconds) in [('f', 0), ('s', 1), ('s', 2), ('f', 3), ('s', 4)] {
            record(letter, seconds);
        }
        assert_eq!(
            record('s', 5).unwrap().cause,
            "probe succeeded ×2, but it has gone down more than 1 time within 10s: it stays down for 5s"
        );
    }

    /// The health after `history`, worked out from all of it.
    fn model(initial: Health, thresholds: Thresholds, history: &[char]) -> Health {
        let Some((&last, before)) = history.split_last() else {
            return initial;
        };
        let run = history.iter().rev().take_while(|&&letter| letter == last).count();
        match (last, model(initial, thresholds, before)) {
            ('s', Health::Unknown) => Health::Up,
            ('s', Health::Down) if run >= thresholds.healthy as usize => Health::Up,
            ('f', Health::Unknown | Health::Up) if run >= thresholds.unhealthy as usize => Health::Down,
            (_, health) => health,
        }
    }

    proptest! {
        #[test]
        fn the_state_agrees_with_the_whole_history(
            initial in prop_oneof![Just(Health::Unknown), Just(Health::Up), Just(Health::Down)],
            healthy in 1..5_u32,
            unhealthy in 1..5_u32,
            results in proptest::collection::vec(prop_oneof![4 => Just('s'), 6 => Just('f'), 1 => Just('l')], 0..60),
        ) {
            let thresholds = Thresholds { healthy, unhealthy };
            let mut state = HealthState::new(initial, Downs::default(), policy(healthy, unhealthy, 0));
            let mut health = initial;
            let mut history = Vec::new();
            for letter in results {
                if letter != 'l' {
                    history.push(letter);
                }
                let expected = model(initial, thresholds, &history);
                let transition = state.record(&result(letter), Duration::ZERO).map(|transition| transition.health);
                prop_assert_eq!(transition, (expected != health).then_some(expected));
                health = expected;
            }
        }
    }
}

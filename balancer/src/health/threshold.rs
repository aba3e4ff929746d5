//! What the results of probes mean: health changes when enough of them in a row speak against it.

use std::{fmt, mem};

use serde::{Deserialize, Serialize};

use super::probe::Failure;
use crate::config::HealthCheck;

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
    thresholds: Thresholds,
    /// Latest results in a row that contradict `health`.
    contradicting: u32,
}

/// A change of health.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// What the backend is from now on.
    pub(super) health: Health,
    /// Why, for logs.
    pub(super) cause: String,
}

impl HealthState {
    /// Starts from what is known, with no result for or against it.
    pub(super) fn new(health: Health, thresholds: Thresholds) -> Self {
        Self {
            health,
            thresholds,
            contradicting: 0,
        }
    }

    /// What the backend is.
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// Takes in the next result; returns the change that it brings about, if any.
    ///
    /// The first success is enough for a backend of which nothing is known, so that a start does not wait for
    /// thresholds. A [local](Failure::is_local) failure is no result.
    pub(super) fn record(&mut self, result: &Result<(), Failure>) -> Option<Transition> {
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
            (Health::Down, Ok(())) => (Health::Up, self.thresholds.healthy),
            (Health::Unknown | Health::Up, Err(_)) => (Health::Down, self.thresholds.unhealthy),
        };
        self.contradicting += 1;
        if self.contradicting < threshold {
            return None;
        }
        self.health = health;
        Some(Transition {
            health,
            cause: cause(result, mem::take(&mut self.contradicting)),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        healthy: 2,
        unhealthy: 3,
    };

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
            let mut state = HealthState::new(initial, THRESHOLDS);
            let mut transitions: Vec<_> = results.chars().map(|letter| state.record(&result(letter))).collect();
            let last = transitions.pop().flatten();
            assert!(
                transitions.iter().all(Option::is_none),
                "{initial:?} {results}: {transitions:?}"
            );
            let expected = expected.map(|(health, cause)| Transition {
                health,
                cause: cause.to_owned(),
            });
            assert_eq!(last, expected, "{initial:?} {results}");
        }
    }

    #[test]
    fn a_threshold_of_one_names_the_failure_alone() {
        let mut state = HealthState::new(
            Health::Up,
            Thresholds {
                healthy: 1,
                unhealthy: 1,
            },
        );
        assert_eq!(state.record(&result('f')).unwrap().cause, "status 503");
        assert_eq!(state.record(&result('s')).unwrap().cause, "probe succeeded");
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
            let mut state = HealthState::new(initial, thresholds);
            let mut health = initial;
            let mut history = Vec::new();
            for letter in results {
                if letter != 'l' {
                    history.push(letter);
                }
                let expected = model(initial, thresholds, &history);
                let transition = state.record(&result(letter)).map(|transition| transition.health);
                prop_assert_eq!(transition, (expected != health).then_some(expected));
                health = expected;
            }
        }
    }
}

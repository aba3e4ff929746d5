//! Passive detection: which backends failures in live traffic take out of service, and for how long. Pure decisions.
//!
//! A backend that fails `max_fails` times within `fail_timeout` is ejected for `fail_timeout`, and then tried again: until as
//! much time has passed without a failure, a single one ejects it anew. At most a share of a service's backends is ejected at
//! once; who has failed more often comes first.

use std::{cmp::Reverse, collections::VecDeque, fmt, iter, time::Duration};

use balancer_common::abi::Failures;

use crate::{config::Passive, wording::counted};

/// How a backend has failed a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Refused,
    Unanswered,
}

/// What live traffic has shown of one backend. Times are counted from any common start.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its latest faults, as many as count.
    faults: VecDeque<(Duration, Fault)>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, Default)]
enum Standing {
    #[default]
    Trusted,
    Ejected {
        until: Duration,
    },
    OnProbation {
        until: Duration,
    },
}

/// A change for a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is out of service, for this reason.
    Ejected(Cause),
    /// It is tried again.
    Readmitted,
}

/// The faults that have ejected a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cause {
    refused: u64,
    unanswered: u64,
}

impl Record {
    /// Whether the backend is out of service.
    pub const fn is_ejected(&self) -> bool {
        matches!(self.standing, Standing::Ejected { .. })
    }

    /// Takes in that time has passed. Returns whether the backend is tried again.
    fn pass(&mut self, policy: &Passive, now: Duration) -> bool {
        self.faults.retain(|(at, _)| *at + policy.fail_timeout > now);
        match self.standing {
            Standing::Ejected { until } if until <= now => {
                let until = now + policy.fail_timeout;
                self.standing = Standing::OnProbation { until };
                self.faults.clear();
                true
            }
            Standing::OnProbation { until } if until <= now => {
                self.standing = Standing::Trusted;
                false
            }
            Standing::Trusted | Standing::Ejected { .. } | Standing::OnProbation { .. } => false,
        }
    }

    /// Notes failures of this moment. Those of a backend that is ejected already say nothing new.
    fn note(&mut self, failures: Failures, policy: &Passive, now: Duration) {
        if self.is_ejected() {
            return;
        }
        let most = policy.max_fails as usize;
        let Failures { refused, unanswered } = failures;
        for (fault, count) in [(Fault::Refused, refused), (Fault::Unanswered, unanswered)] {
            let count = usize::try_from(count).unwrap_or(most).min(most);
            self.faults.extend(iter::repeat_n((now, fault), count));
        }
        let excess = self.faults.len().saturating_sub(most);
        self.faults.drain(..excess);
    }

    fn deserves_ejection(&self, policy: &Passive) -> bool {
        let enough = match self.standing {
            Standing::Trusted => policy.max_fails as usize,
            Standing::OnProbation { .. } => 1,
            Standing::Ejected { .. } => return false,
        };
        self.faults.len() >= enough
    }

    fn eject(&mut self, policy: &Passive, now: Duration) -> Cause {
        let count = |wanted| self.faults.iter().filter(|(_, fault)| *fault == wanted).count() as u64;
        let cause = Cause {
            refused: count(Fault::Refused),
            unanswered: count(Fault::Unanswered),
        };
        self.faults.clear();
        self.standing = Standing::Ejected {
            until: now + policy.fail_timeout,
        };
        cause
    }
}

/// Takes in what has happened to the backends of a service until `now`: for each its record and its new failures. Returns
/// what changes, by their numbers.
pub fn judge(backends: &mut [(&mut Record, Failures)], policy: &Passive, now: Duration) -> Vec<(usize, Change)> {
    let mut changes = Vec::new();
    for (number, (record, failures)) in backends.iter_mut().enumerate() {
        if record.pass(policy, now) {
            changes.push((number, Change::Readmitted));
        }
        record.note(*failures, policy, now);
    }
    let ejected = backends.iter().filter(|(record, _)| record.is_ejected()).count();
    let room = most_ejected(policy.max_ejected, backends.len()).saturating_sub(ejected);
    let records = backends.iter_mut().map(|(record, _)| record);
    let mut candidates: Vec<_> = records.enumerate().collect();
    candidates.retain(|(_, record)| record.deserves_ejection(policy));
    candidates.sort_by_key(|(_, record)| Reverse(record.faults.len()));
    for (number, record) in candidates.into_iter().take(room) {
        changes.push((number, Change::Ejected(record.eject(policy, now))));
    }
    changes
}

/// How many of so many backends a share is, without what is left of one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is from 0 to 1, and a service has far fewer than 2^52 backends"
)]
fn most_ejected(share: f64, backends: usize) -> usize {
    /// 0.29 of 100 is 28.999999999999996.
    const ROUNDING: f64 = 1e-9;
    (share * backends as f64 + ROUNDING) as usize
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, unanswered } = *self;
        let connections = |count| counted(count, "connection", "connections");
        match (refused, unanswered) {
            (refused, 0) => write!(f, "{} refused", connections(refused)),
            (0, unanswered) => write!(f, "{} unanswered", connections(unanswered)),
            (refused, unanswered) => write!(f, "{} refused, {unanswered} unanswered", connections(refused)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn policy(max_fails: u32, max_ejected: f64) -> Passive {
        Passive {
            max_fails,
            fail_timeout: Duration::from_secs(10),
            max_ejected,
        }
    }

    /// Has backends live through `history`: at which second which of them fails how often. Returns who is ejected after each
    /// of its entries.
    fn live(backends: usize, policy: &Passive, history: &[(u64, usize, u64)]) -> Vec<Vec<usize>> {
        let mut records = vec![Record::default(); backends];
        let after = |&(at, who, refused): &(u64, usize, u64)| {
            let failures = |number| Failures {
                refused: if number == who { refused } else { 0 },
                unanswered: 0,
            };
            let each = records.iter_mut().enumerate();
            let mut each: Vec<_> = each.map(|(number, record)| (record, failures(number))).collect();
            judge(&mut each, policy, Duration::from_secs(at));
            let ejected = (0..backends).filter(|&number| records[number].is_ejected());
            ejected.collect()
        };
        history.iter().map(after).collect()
    }

    #[test]
    fn who_is_ejected_follows_from_the_failures() {
        const NOBODY: &[usize] = &[];
        // Backends, failures that eject, share; then second, backend, failures, and who is ejected after that.
        type History<'a> = &'a [(u64, usize, u64, &'a [usize])];
        let cases: [(usize, u32, f64, History<'_>); 12] = [
            // As many as it takes, at once or one by one.
            (2, 3, 0.5, &[(0, 0, 2, NOBODY), (1, 0, 1, &[0])]),
            (2, 3, 0.5, &[(0, 0, 3, &[0])]),
            (2, 1, 0.5, &[(0, 1, 1, &[1])]),
            // Failures of others don't add up, and old ones don't count.
            (2, 3, 0.5, &[(0, 0, 2, NOBODY), (1, 1, 2, NOBODY)]),
            (2, 3, 0.5, &[(0, 0, 2, NOBODY), (9, 0, 1, &[0])]),
            (2, 3, 0.5, &[(0, 0, 2, NOBODY), (10, 0, 1, NOBODY)]),
            // It is out for as long as failures count; what comes meanwhile does not make it longer.
            (2, 1, 0.5, &[(0, 0, 1, &[0]), (9, 0, 5, &[0]), (10, 0, 0, NOBODY)]),
            // Then one failure is enough, until as much time has passed again.
            (2, 3, 0.5, &[(0, 0, 3, &[0]), (10, 0, 0, NOBODY), (19, 0, 1, &[0])]),
            (
                2,
                3,
                0.5,
                &[
                    (0, 0, 3, &[0]),
                    (10, 0, 0, NOBODY),
                    (20, 0, 1, NOBODY),
                    (21, 0, 2, &[0]),
                ],
            ),
            // No more than the share: of one, nobody; the others wait until there is room.
            (1, 1, 0.5, &[(0, 0, 9, NOBODY)]),
            (3, 1, 0.5, &[(0, 0, 1, &[0]), (1, 1, 1, &[0]), (10, 2, 0, &[1])]),
            (2, 1, 1.0, &[(0, 0, 1, &[0]), (1, 1, 1, &[0, 1])]),
        ];
        for (backends, max_fails, share, history) in cases {
            let events: Vec<_> = history.iter().map(|&(at, who, count, _)| (at, who, count)).collect();
            let expected: Vec<_> = history.iter().map(|(.., ejected)| ejected.to_vec()).collect();
            let lived = live(backends, &policy(max_fails, share), &events);
            assert_eq!(lived, expected, "{max_fails} of {backends}, {share}: {history:?}");
        }
    }

    #[test]
    fn who_has_failed_more_often_is_ejected_first() {
        let mut records = vec![Record::default(); 3];
        let failures = [2, 5, 3].map(|refused| Failures { refused, unanswered: 0 });
        let mut each: Vec<_> = records.iter_mut().zip(failures).collect();
        let changes = judge(&mut each, &policy(5, 0.34), Duration::ZERO);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].0, 1);
    }

    #[test]
    fn a_change_tells_its_cause() {
        for (refused, unanswered, expected) in [
            (3, 0, "3 connections refused"),
            (0, 1, "1 connection unanswered"),
            (1, 2, "1 connection refused, 2 unanswered"),
        ] {
            let mut record = Record::default();
            let max_fails = u32::try_from(refused + unanswered).unwrap();
            let failures = Failures { refused, unanswered };
            let changes = judge(&mut [(&mut record, failures)], &policy(max_fails, 1.0), Duration::ZERO);
            let [(0, Change::Ejected(cause))] = changes[..] else {
                panic!("{changes:?}");
            };
            assert_eq!(cause.to_string(), expected);
        }
    }

    #[test]
    fn a_share_of_the_backends_is_rounded_down() {
        for (share, backends, most) in [
            (0.5, 1, 0),
            (0.5, 3, 1),
            (0.29, 100, 29),
            (0.7, 10, 7),
            (1.0, 3, 3),
            (0.0, 9, 0),
        ] {
            assert_eq!(most_ejected(share, backends), most, "{share} of {backends}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_is_ejected_and_nobody_for_longer_than_the_timeout(
            backends in 1_usize..8,
            max_fails in 1_u32..4,
            share in 0.0..=1.0,
            events in prop::collection::vec((0_u64..5, 0_usize..8, 0_u64..5), 1..60),
        ) {
            let mut now = 0;
            let history: Vec<_> = events.into_iter().map(|(pause, who, count)| { now += pause; (now, who, count) }).collect();
            let policy = policy(max_fails, share);
            let lived = live(backends, &policy, &history);
            for ejected in &lived {
                prop_assert!(ejected.len() <= most_ejected(share, backends));
            }
            for who in 0..backends {
                let failing = history.iter().filter(|(_, other, _)| *other == who).any(|(_, _, count)| *count > 0);
                prop_assert!(failing || lived.iter().all(|ejected| !ejected.contains(&who)));
            }
            // Once nobody fails any more, everybody is back.
            let mut quiet = history;
            quiet.push((now + 10, 0, 0));
            quiet.push((now + 20, 0, 0));
            prop_assert!(live(backends, &policy, &quiet).last().is_some_and(Vec::is_empty));
        }
    }
}

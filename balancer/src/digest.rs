//! What the log has a line for, and what a line together: a host that a thousand services share takes a thousand backends
//! with it. Pure decisions.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    control::protocol::{Change, Effect, EventKind},
    wording::counted,
};

/// How many changes of one kind at one host have a line each.
const ALONE: u64 = 3;
/// Those that come after them have one together, once for so long no more have come…
const QUIET: Duration = Duration::from_secs(1);
/// …or for so long they have kept coming.
const LONGEST: Duration = Duration::from_secs(10);

/// The changes of the last moments, by host and kind.
#[derive(Debug, Default)]
pub(crate) struct Digest(HashMap<(IpAddr, EventKind), Group>);

#[derive(Debug)]
struct Group {
    began: Instant,
    latest: Instant,
    alone: u64,
    together: Option<Summary>,
}

/// Several changes of one kind at one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    /// The host.
    pub(crate) host: IpAddr,
    /// What has changed.
    pub(crate) kind: EventKind,
    /// How many backends.
    pub(crate) backends: u64,
    /// Why, the first of them.
    pub(crate) cause: String,
    /// What that does to clients and flows, as far as it is known.
    pub(crate) effect: Effect,
}

impl Digest {
    /// Whether a change has a line of its own. If not, it is in a later [summary](Self::due).
    pub(crate) fn admit(&mut self, host: IpAddr, change: &Change, now: Instant) -> bool {
        let group = self.0.entry((host, change.kind)).or_insert(Group {
            began: now,
            latest: now,
            alone: 0,
            together: None,
        });
        group.latest = now;
        if group.alone < ALONE {
            group.alone += 1;
            return true;
        }
        let summary = group.together.get_or_insert_with(|| Summary {
            host,
            kind: change.kind,
            backends: 0,
            cause: change.cause.clone(),
            effect: Effect::default(),
        });
        summary.add(change);
        false
    }

    /// The summaries that are due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Summary> {
        let mut due = Vec::new();
        self.0.retain(|_, group| {
            let is_over = now >= group.latest + QUIET;
            if is_over || now >= group.began + LONGEST {
                due.extend(group.together.take());
                group.began = now;
            }
            !is_over
        });
        due
    }
}

impl Summary {
    fn add(&mut self, change: &Change) {
        self.backends += 1;
        let effect = change.effect.unwrap_or_default();
        self.effect.slots_moved += effect.slots_moved;
        self.effect.flows_moved += effect.flows_moved;
        self.effect.flows_kept += effect.flows_kept;
    }
}

/// As in the log: `10.0.0.12: 997 more backends down: connection refused ×3; 4,995 slots moved, 14 live flows moved, 28 kept`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            kind,
            backends,
            cause,
            effect,
        } = self;
        let backends = counted(*backends, "more backend", "more backends");
        write!(f, "{host}: {backends} {kind}: {cause}; {effect}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 12));

    fn change(kind: EventKind) -> Change {
        Change {
            kind,
            service: Some("web".to_owned()),
            backend: Some("b2".to_owned()),
            cause: "connection refused ×3".to_owned(),
            effect: Some(Effect {
                slots_moved: 5,
                flows_moved: 2,
                flows_kept: 1,
            }),
        }
    }

    /// Changes at these milliseconds. Returns how many of them have lines of their own, and the summaries that are due after
    /// the times in `looks`.
    fn lines(changes: impl Iterator<Item = u64>, looks: &[u64]) -> (usize, Vec<Vec<u64>>) {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut digest = Digest::default();
        let mut changes = changes.peekable();
        let mut alone = 0;
        let summaries = looks.iter().map(|&look| {
            while let Some(time) = changes.next_if(|&time| time <= look) {
                alone += usize::from(digest.admit(HOST, &change(EventKind::Down), at(time)));
            }
            let due = digest.due(at(look)).into_iter();
            due.map(|summary| summary.backends).collect()
        });
        let summaries = summaries.collect();
        (alone, summaries)
    }

    #[test]
    fn a_few_have_lines_of_their_own_and_the_others_one_when_it_has_been_quiet() {
        let none: Vec<u64> = Vec::new();
        assert_eq!(lines(0..3, &[500, 1_500]), (3, vec![none.clone(), none.clone()]));
        assert_eq!(
            lines(0..1_000, &[999, 1_998, 1_999]),
            (3, vec![none.clone(), none.clone(), vec![997]])
        );
        // After a quiet moment it begins anew.
        let twice = (0..5).chain(5_000..5_005);
        assert_eq!(lines(twice, &[2_000, 4_000, 7_000]), (6, vec![vec![2], none, vec![2]]));
    }

    #[test]
    fn those_that_keep_coming_have_a_line_now_and_then() {
        let steady = (0..30_000).step_by(100);
        let (alone, summaries) = lines(steady, &[9_950, 10_000, 15_000, 20_000, 29_950, 40_000]);
        assert_eq!(alone, 3);
        assert_eq!(summaries, [vec![], vec![98], vec![], vec![100], vec![], vec![99]]);
    }

    #[test]
    fn kinds_and_hosts_are_told_apart_and_a_summary_adds_up_effects() {
        let now = Instant::now();
        let mut digest = Digest::default();
        let other: IpAddr = "10.0.0.13".parse().unwrap();
        for _ in 0..5 {
            digest.admit(HOST, &change(EventKind::Down), now);
        }
        for (host, kind) in [(HOST, EventKind::Up), (other, EventKind::Down)] {
            assert!(digest.admit(host, &change(kind), now));
        }
        let due = digest.due(now + QUIET);
        let [summary] = &due[..] else { panic!("{due:?}") };
        assert_eq!(
            summary.to_string(),
            "10.0.0.12: 2 more backends down: connection refused ×3; 10 slots moved, 4 live flows moved, 2 kept"
        );
    }
}

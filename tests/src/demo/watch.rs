//! Watching a backend through the metrics endpoint.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use super::{
    clients::Clients,
    judge,
    report::Verdict,
    stage::{Service, Stage},
};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long what is waited for may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at a backend, one after the other.
pub(super) struct Watch {
    backend: &'static str,
    looks: Vec<Look>,
}

/// What the daemon said of the backend.
struct Look {
    asked: Instant,
    answered: Instant,
    /// By service, in the order of [`Service::ALL`].
    states: [State; 2],
}

/// The backend in one service.
struct State {
    /// Whether the tables send new clients to it.
    in_tables: bool,
    /// Probes that succeeded, since the daemon started.
    good_probes: u32,
    /// Probes that failed, since the daemon started.
    bad_probes: u32,
}

impl Watch {
    /// Takes a first look.
    pub(super) fn begin(stage: &Stage<'_>, backend: &'static str) -> anyhow::Result<Self> {
        let looks = vec![Look::take(stage, backend)?];
        Ok(Self { backend, looks })
    }

    /// Keeps looking until the tables of both services have the backend, or neither's. Returns when that was known.
    pub(super) fn until(
        &mut self,
        in_tables: bool,
        clients: &Clients<'_>,
        stage: &Stage<'_>,
    ) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            clients.check()?;
            let look = self.looks.push_mut(Look::take(stage, self.backend)?);
            if look.in_tables() == [in_tables; 2] {
                return Ok(look.answered);
            }
            thread::sleep(INTERVAL);
        }
        bail!("{} does not change within {} s", self.backend, PATIENCE.as_secs())
    }

    /// When the tables were last known to be as they were at first.
    pub(super) fn unchanged_until(&self) -> Option<Instant> {
        let first = self.looks.first()?.in_tables();
        let unchanged = self.looks.iter().rfind(|look| look.in_tables() == first);
        unchanged.map(|look| look.asked)
    }

    /// When so many more probes than at first were known to have failed in both services.
    pub(super) fn failed(&self, probes: u32) -> Option<Instant> {
        let first = self.looks.first()?.bad_probes();
        let failed = |look: &&Look| {
            look.bad_probes()
                .iter()
                .zip(first)
                .all(|(now, first)| *now >= first + probes)
        };
        self.looks.iter().find(failed).map(|look| look.answered)
    }

    /// The backend left the tables by the failed probe that made the threshold full, in both services.
    pub(super) fn left_at(&self, threshold: u32) -> Verdict {
        self.turned_at(threshold, |state| (!state.in_tables, state.bad_probes))
    }

    /// The backend came into the tables by the successful probe that made the threshold full, in both services.
    pub(super) fn came_at(&self, threshold: u32) -> Verdict {
        self.turned_at(threshold, |state| (state.in_tables, state.good_probes))
    }

    fn turned_at(&self, threshold: u32, seen: impl Fn(&State) -> (bool, u32)) -> Verdict {
        judge::each((0..Service::ALL.len()).map(|service| {
            let looks: Vec<_> = self.looks.iter().map(|look| seen(&look.states[service])).collect();
            judge::turned_at(threshold, &looks)
        }))
    }
}

impl Look {
    fn take(stage: &Stage<'_>, backend: &str) -> anyhow::Result<Self> {
        let asked = Instant::now();
        let scrape = stage.scrape()?;
        let answered = Instant::now();
        let states = Service::ALL.map(|service| State {
            in_tables: scrape.share(service, backend) > 0.0,
            good_probes: scrape.probes(service, backend, "success"),
            bad_probes: scrape.probes(service, backend, "failure"),
        });
        Ok(Self {
            asked,
            answered,
            states,
        })
    }

    fn in_tables(&self) -> [bool; 2] {
        self.states.each_ref().map(|state| state.in_tables)
    }

    fn bad_probes(&self) -> [u32; 2] {
        self.states.each_ref().map(|state| state.bad_probes)
    }
}

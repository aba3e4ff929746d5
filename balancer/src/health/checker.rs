//! Runs the probes of all targets and tells what becomes of them.

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{self, Instant},
};

use super::{
    probe::{self, Failure, Probe},
    schedule,
    threshold::{Health, HealthState, Thresholds},
};
use crate::config::{self, HealthCheck};

/// Verdicts that wait to be received; a target whose verdict finds no room is not probed until it does.
const WAITING_VERDICTS: usize = 256;

/// Something to probe.
#[derive(Clone, Debug)]
pub struct Target<K> {
    /// What the caller calls it; unique among the targets.
    pub key: K,
    /// Where to ask.
    pub address: SocketAddr,
    /// What, when and how often to ask.
    pub check: HealthCheck,
    /// What is known of it, from before a restart for one; counts only when the target is started.
    pub initial: Health,
}

/// A change of a target's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<K> {
    /// The target.
    pub key: K,
    /// What it is from now on.
    pub health: Health,
    /// Why, for logs.
    pub cause: String,
}

/// What came of one probe.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the backend answered as it should.
    pub result: Result<(), Failure>,
    /// From the start of the probe to its result.
    pub duration: Duration,
}

/// Is told the outcome of every probe.
type Observer<K> = Arc<dyn Fn(&K, &Outcome) + Send + Sync>;

/// Makes the probe that a configuration asks for.
type ProbeFactory = Box<dyn Fn(&config::Probe) -> Box<dyn Probe> + Send>;

/// Probes a set of targets, each in a task of its own, until it is dropped.
pub struct Checker<K> {
    running: HashMap<K, Running>,
    verdicts: mpsc::Sender<Issued<K>>,
    observer: Observer<K>,
    probes: ProbeFactory,
}

/// The verdicts of a [`Checker`], in the order in which they were reached.
pub struct Verdicts<K>(mpsc::Receiver<Issued<K>>);

/// A verdict that is void once its target is stopped.
struct Issued<K> {
    verdict: Verdict<K>,
    running: Weak<()>,
}

/// A target that is being probed; dropping it stops that and voids its verdicts.
struct Running {
    address: SocketAddr,
    check: HealthCheck,
    task: AbortHandle,
    /// Held by nobody else, so that what points to it weakly knows whether this still is.
    _alive: Arc<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Checker<K> {
    /// A checker without targets, and the receiver of its verdicts.
    ///
    /// `observer` is called on the probing tasks, between a probe and its verdict, so it must be quick.
    pub fn new(observer: impl Fn(&K, &Outcome) + Send + Sync + 'static) -> (Self, Verdicts<K>) {
        Self::with_probes(Box::new(probe::from_config), observer)
    }

    fn with_probes(
        probes: ProbeFactory,
        observer: impl Fn(&K, &Outcome) + Send + Sync + 'static,
    ) -> (Self, Verdicts<K>) {
        let (verdicts, receiver) = mpsc::channel(WAITING_VERDICTS);
        (
            Self {
                running: HashMap::new(),
                verdicts,
                observer: Arc::new(observer),
                probes,
            },
            Verdicts(receiver),
        )
    }

    /// Makes `targets` what is probed.
    ///
    /// New ones are started, missing ones stopped, and those whose address or check changed are started anew. The others
    /// go on undisturbed. When this returns, no verdict of what it stopped can be received any more; an outcome of a
    /// probe that was just ending may still be observed.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn reconcile(&mut self, targets: Vec<Target<K>>) {
        let mut wanted: HashMap<_, _> = targets.into_iter().map(|target| (target.key.clone(), target)).collect();
        self.running.retain(|key, running| {
            wanted
                .get(key)
                .is_some_and(|target| running.address == target.address && running.check == target.check)
        });
        wanted.retain(|key, _| !self.running.contains_key(key));
        let together = wanted.len();
        for (key, target) in wanted {
            let delay = schedule::first_delay(&key, together, target.check.interval);
            self.running.insert(key, self.start(target, delay));
        }
    }

    fn start(&self, target: Target<K>, delay: Duration) -> Running {
        let alive = Arc::new(());
        let Target {
            key,
            address,
            check,
            initial,
        } = target;
        let watch = Watch {
            key,
            address,
            probe: (self.probes)(&check.probe),
            interval: check.interval,
            timeout: check.timeout,
            state: HealthState::new(initial, Thresholds::from(&check)),
            verdicts: self.verdicts.clone(),
            running: Arc::downgrade(&alive),
            observer: Arc::clone(&self.observer),
        };
        let task = tokio::spawn(watch.run(Instant::now() + delay)).abort_handle();
        Running {
            address,
            check,
            task,
            _alive: alive,
        }
    }
}

impl<K> Verdicts<K> {
    /// The next verdict on a target that is still probed; `None` once the checker is dropped.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<Verdict<K>> {
        loop {
            let issued = self.0.recv().await?;
            if issued.running.strong_count() > 0 {
                return Some(issued.verdict);
            }
        }
    }
}

/// What the task of one target works with.
struct Watch<K> {
    key: K,
    address: SocketAddr,
    probe: Box<dyn Probe>,
    interval: Duration,
    timeout: Duration,
    state: HealthState,
    verdicts: mpsc::Sender<Issued<K>>,
    running: Weak<()>,
    observer: Observer<K>,
}

impl<K: Clone> Watch<K> {
    /// Probes from `start` on, until nobody receives verdicts any more.
    async fn run(mut self, mut start: Instant) {
        loop {
            time::sleep_until(start).await;
            let started = Instant::now();
            let result = probe::within(self.timeout, &*self.probe, self.address).await;
            let ended = Instant::now();
            let outcome = Outcome {
                result,
                duration: ended - started,
            };
            (self.observer)(&self.key, &outcome);
            if let Some(transition) = self.state.record(&outcome.result) {
                let verdict = Verdict {
                    key: self.key.clone(),
                    health: transition.health,
                    cause: transition.cause,
                };
                let issued = Issued {
                    verdict,
                    running: Weak::clone(&self.running),
                };
                if self.verdicts.send(issued).await.is_err() {
                    return;
                }
            }
            start = schedule::next_start(started, ended, self.interval);
        }
    }
}

#[cfg(test)]
mod tests;

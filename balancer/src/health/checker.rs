//! Runs the probes of all targets and tells what becomes of them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::{self, Instant},
};

use super::{
    Destination,
    damping::Downs,
    probe::{self, Failure, Probe},
    schedule::Phase,
    threshold::{Health, HealthState, Policy},
};
use crate::config::HealthCheck;

/// Verdicts that wait to be received; a target whose verdict finds no room is not probed until it does.
const WAITING_VERDICTS: usize = 256;

/// Something to probe.
#[derive(Clone, Debug)]
pub struct Target<K> {
    /// What the caller calls it; unique among the targets.
    pub key: K,
    /// Where to ask.
    pub destination: Destination,
    /// What, when and how often to ask.
    pub check: HealthCheck,
    /// What is known of it, from before a restart for one; counts only when the target is started.
    pub initial: Health,
    /// How long ago it went down, each time that may still count; as `initial`.
    pub downs: Vec<Duration>,
}

/// A change of a target's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<K> {
    /// The target.
    pub key: K,
    /// What it is from now on.
    pub health: Health,
    /// Whether it would be up, but is held down since it went down too often.
    pub damped: bool,
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
    /// From when the probe was due to its start; long if too many others were under way.
    pub late: Duration,
}

/// Is told the outcome of every probe.
type Observer<K> = Arc<dyn Fn(&K, &Outcome) + Send + Sync>;

/// Makes the probe that a health check asks for.
type ProbeFactory = Box<dyn Fn(&HealthCheck) -> Arc<dyn Probe> + Send>;

/// Probes a set of targets, each in a task of its own, until it is dropped.
pub struct Checker<K> {
    running: HashMap<K, Running>,
    verdicts: mpsc::Sender<Issued<K>>,
    observer: Observer<K>,
    probes: ProbeFactory,
    /// One permit for each probe that may be under way.
    room: Arc<Semaphore>,
    began: Instant,
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
    destination: Destination,
    check: HealthCheck,
    probe: Arc<dyn Probe>,
    task: AbortHandle,
    /// Held by nobody else, so that what points to it weakly knows whether this still is.
    _alive: Arc<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Checker<K> {
    /// A checker without targets, and the receiver of its verdicts.
    ///
    /// At most `max_concurrent` probes are under way at once; others wait their turn, and their time to answer begins
    /// after that. `observer` is called on the probing tasks, between a probe and its verdict, so it must be quick.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(max_concurrent: usize, observer: impl Fn(&K, &Outcome) + Send + Sync + 'static) -> (Self, Verdicts<K>) {
        Self::with_probes(max_concurrent, Box::new(probe::from_config), observer)
    }

    fn with_probes(
        max_concurrent: usize,
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
                room: Arc::new(Semaphore::new(max_concurrent)),
                began: Instant::now(),
            },
            Verdicts(receiver),
        )
    }

    /// Makes `targets` what is probed.
    ///
    /// New ones are started, missing ones stopped, and those whose destination or check changed are started anew. The others
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
                .is_some_and(|target| running.destination == target.destination && running.check == target.check)
        });
        wanted.retain(|key, _| !self.running.contains_key(key));
        // What a probe is made of may be large, like the authorities that it believes, so equal checks share one.
        let probes = self.running.values();
        let mut probes: HashMap<_, _> = probes
            .map(|running| (running.check.clone(), Arc::clone(&running.probe)))
            .collect();
        let together = wanted.len();
        for (key, target) in wanted {
            let probe = probes
                .entry(target.check.clone())
                .or_insert_with(|| (self.probes)(&target.check));
            let probe = Arc::clone(probe);
            self.running.insert(key, self.start(target, probe, together));
        }
    }

    /// Starts a target, one of so many that start `together`.
    fn start(&self, target: Target<K>, probe: Arc<dyn Probe>, together: usize) -> Running {
        let alive = Arc::new(());
        let Target {
            key,
            destination,
            check,
            initial,
            downs,
        } = target;
        let phase = Phase::of(&key);
        let policy = Policy::from(&check);
        let state = HealthState::new(
            initial,
            Downs::before(since(self.began), &downs, policy.damping),
            policy,
        );
        let due = Instant::now() + phase.first_delay(together, check.interval);
        let watch = Watch {
            key,
            phase,
            began: self.began,
            destination: destination.clone(),
            probe: Arc::clone(&probe),
            state,
            check: check.clone(),
            room: Arc::clone(&self.room),
            verdicts: self.verdicts.clone(),
            running: Arc::downgrade(&alive),
            observer: Arc::clone(&self.observer),
        };
        let task = tokio::spawn(watch.run(due)).abort_handle();
        Running {
            destination,
            check,
            probe,
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

/// The time since the checker began and long before, so that what happened before it has a time too.
fn since(began: Instant) -> Duration {
    /// Longer than anything counts.
    const BEFORE: Duration = Duration::from_hours(24 * 366);
    BEFORE + began.elapsed()
}

/// What the task of one target works with.
struct Watch<K> {
    key: K,
    phase: Phase,
    began: Instant,
    destination: Destination,
    probe: Arc<dyn Probe>,
    check: HealthCheck,
    state: HealthState,
    room: Arc<Semaphore>,
    verdicts: mpsc::Sender<Issued<K>>,
    running: Weak<()>,
    observer: Observer<K>,
}

impl<K: Clone> Watch<K> {
    /// Probes from when the first probe is due on, until nobody receives verdicts any more.
    async fn run(mut self, mut due: Instant) {
        let mut in_the_dark = false;
        loop {
            let Some((started, outcome)) = self.probe(due).await else {
                return;
            };
            (self.observer)(&self.key, &outcome);
            self.note_darkness(&mut in_the_dark, &outcome);
            if let Some(transition) = self.state.record(&outcome.result, since(self.began)) {
                let verdict = Verdict {
                    key: self.key.clone(),
                    health: transition.health,
                    damped: transition.damped,
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
            due = self.next(started, outcome.duration);
        }
    }

    /// Probes once there is room after `due`; returns when that began and what came of it. `None` if there will never be
    /// room again.
    async fn probe(&self, due: Instant) -> Option<(Instant, Outcome)> {
        time::sleep_until(due).await;
        let _room = self.room.acquire().await.ok()?;
        let started = Instant::now();
        let result = probe::within(self.check.timeout, &*self.probe, &self.destination).await;
        let outcome = Outcome {
            result,
            duration: started.elapsed(),
            late: started - due,
        };
        Some((started, outcome))
    }

    /// When the probe after one that started at that time and took so long is due.
    fn next(&self, started: Instant, duration: Duration) -> Instant {
        let interval = match self.state.health() {
            Health::Down => self.check.interval_down,
            Health::Up | Health::Unknown => self.check.interval,
        };
        let started = started - self.began;
        self.began + self.phase.next_start(started, started + duration, interval)
    }

    /// Tells, once, that the backend cannot be asked, as that leaves its health as it is, which nobody would notice.
    fn note_darkness(&self, in_the_dark: &mut bool, outcome: &Outcome) {
        let Destination { backend, address, .. } = &self.destination;
        match &outcome.result {
            Err(failure) if failure.is_local() => {
                if !std::mem::replace(in_the_dark, true) {
                    tracing::warn!("{backend} at {address} keeps its health as long as it is {failure}");
                }
            }
            Ok(()) | Err(_) => {
                if std::mem::take(in_the_dark) {
                    tracing::info!("{backend} at {address} is probed again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

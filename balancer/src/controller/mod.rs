//! The owner of the data plane: everything that changes or reads it passes through one thread.
//!
//! The thread takes inputs (health verdicts, next hops, requests), works out what the data plane should hold, and has the
//! difference carried out. It is a thread and not a task because the kernel makes it wait: for the end of packets that
//! still use what is being replaced.

mod adoption;
mod alarm;
mod changes;
mod desired;
mod downs;
mod ejections;
mod files;
mod flows;
mod follow;
mod followers;
mod foresight;
mod hot_spots;
mod knowledge;
mod orders;
mod plan;
mod reader;
mod requests;
mod resolve;
mod slow_start;
mod sources;
mod standing;
mod trace;
mod views;
mod wake;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use balancer_common::abi::WakeRequest;
use tokio::sync::{mpsc, oneshot};

pub use alarm::AlarmClock;
pub use followers::Followers;
pub use reader::{Reading, Readings};
pub use trace::view as view_decision;
pub use views::Snapshot;

use crate::{
    control::protocol::{Refusal, Request, Response, TraceFilter},
    dataplane::{Dataplane, Memory, TimerTick, Trace},
    events::Events,
    health::Verdict,
    intent::{Intent, Store},
    metrics::DaemonMetrics,
    neighbors::{self, Unreachable, Way},
};
use alarm::Alarm;
use changes::Pending;
use downs::DownTimes;
use ejections::Ejections;
use knowledge::Knowledge;
use reader::{Counted, Reader};
use slow_start::SlowStart;
use wake::Woken;

/// Where it is kept when backends went down.
fn file_of_downs(intent: &Intent) -> PathBuf {
    intent.running.control.state.join("downs.json")
}

/// What a backend is called by: its service's name and its own.
pub type BackendKey = (String, String);

/// What can happen to the controller.
pub enum Input {
    /// A backend's health has changed.
    Health(Verdict<BackendKey>),
    /// The way to a backend or the routes have changed.
    Neighbor(neighbors::Event),
    /// A client of the control socket asks.
    Request(Request, oneshot::Sender<Response>),
    /// A client of the control socket wants to follow decisions about packets.
    StartTrace(TraceFilter, oneshot::Sender<Result<Trace, Refusal>>),
    /// It does no longer.
    EndTrace(oneshot::Sender<()>),
    /// Somebody wants the figures.
    Snapshot(oneshot::Sender<anyhow::Result<Snapshot>>),
    /// Something is due.
    Alarm,
    /// Flows and clients that are over are to be forgotten.
    Sweep,
    /// A moment has passed: what live traffic shows of the backends is to be looked at, and what the log has together.
    Moment,
    /// What is remembered has been read.
    Read(Reading),
    /// A packet has come for a suspended backend.
    Wake(WakeRequest),
}

/// The way to the controller.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
}

impl Handle {
    /// Where inputs are sent.
    pub const fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs }
    }

    /// Has a request answered.
    pub async fn ask(&self, request: Request) -> anyhow::Result<Response> {
        self.have(|reply| Input::Request(request, reply)).await
    }

    /// Decisions about packets, until [`end_trace`](Self::end_trace).
    pub async fn start_trace(&self, filter: TraceFilter) -> anyhow::Result<Result<Trace, Refusal>> {
        self.have(|reply| Input::StartTrace(filter, reply)).await
    }

    /// Ends a trace.
    pub async fn end_trace(&self) -> anyhow::Result<()> {
        self.have(Input::EndTrace).await
    }

    /// The figures of this moment.
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        self.have(Input::Snapshot).await?
    }

    /// Sends an input and waits for what comes of it.
    async fn have<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> anyhow::Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.inputs
            .send(input(sender))
            .await
            .ok()
            .context("the daemon is ending")?;
        receiver.await.context("the daemon is ending")
    }
}

/// Why the controller ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All handles are gone: the daemon stops, the data plane stays.
    Stopped,
    /// A client had the data plane detached.
    Detached,
}

/// When the data plane is tried again after it could not be changed.
const RETRY: Duration = Duration::from_secs(1);

/// The owner of the data plane.
pub struct Controller {
    intent: Intent,
    store: Store,
    /// Path of the daemon's own configuration file.
    file: PathBuf,
    started: Instant,
    dataplane: Dataplane,
    reader: Reader,
    knowledge: Knowledge,
    slow_start: SlowStart,
    ejections: Ejections,
    /// Whether backends went down in a way that is to be kept on disk.
    downs_changed: bool,
    followers: Followers,
    alarm: Alarm,
    metrics: Arc<DaemonMetrics>,
    timer: TimerTick,
    woken: Woken,
    /// Destinations that packets cannot leave the host for.
    cut_off: HashSet<IpAddr>,
    /// Indices of the backends that are hot spots.
    hot: HashSet<u32>,
    /// Backends, by service, of whose health the data plane knows nothing yet.
    judged: BTreeMap<String, Vec<String>>,
    /// Services whose tables are to follow from a change of health.
    behind: BTreeSet<String>,
    /// Changes that the data plane has not followed yet.
    pending: Vec<Pending>,
    events: Arc<Events>,
}

impl Controller {
    /// A controller of `dataplane` that makes it hold what `intent` says, and has next hops looked for. What the data plane
    /// knows of the backends' health is where it begins. Further changes of the intent are kept in `store`; the daemon's
    /// own configuration file is `file`; changes of state are told to `events`. The clock has to run for what is due at a certain time,
    /// and what has been read has to be forwarded.
    pub fn new(
        intent: Intent,
        store: Store,
        file: PathBuf,
        dataplane: Dataplane,
        followers: Followers,
        metrics: Arc<DaemonMetrics>,
        events: Arc<Events>,
    ) -> anyhow::Result<(Self, AlarmClock, Readings)> {
        let (alarm, clock) = Alarm::new();
        let (reader, readings) = Reader::start()?;
        let knowledge = Knowledge::remembered(
            &intent.running,
            dataplane.state(),
            DownTimes::read(&file_of_downs(&intent)),
        );
        followers.watch(&intent.running);
        let controller = Self {
            timer: TimerTick::of_kernel()?,
            woken: Woken::default(),
            intent,
            store,
            file,
            started: Instant::now(),
            dataplane,
            reader,
            knowledge,
            slow_start: SlowStart::default(),
            ejections: Ejections::new(),
            downs_changed: false,
            followers,
            alarm,
            metrics,
            cut_off: HashSet::new(),
            hot: HashSet::new(),
            judged: BTreeMap::new(),
            behind: BTreeSet::new(),
            pending: Vec::new(),
            events,
        };
        Ok((controller, clock, readings))
    }

    /// The addresses whose next hops the data plane needs.
    pub fn destinations(&self) -> HashSet<IpAddr> {
        followers::destinations(&self.intent.running)
    }

    /// The data plane, to attach it.
    pub const fn dataplane(&mut self) -> &mut Dataplane {
        &mut self.dataplane
    }

    /// Notes the way to a backend without acting on it yet.
    pub fn set_way(&mut self, destination: IpAddr, way: Result<Way, Unreachable>) {
        self.note_way(destination, &way);
        self.knowledge.set_way(destination, way);
    }

    /// Has the backends probed that are to be. The data plane knows them by then.
    fn probe(&mut self) {
        let state = self.dataplane.state();
        self.followers.probe(&self.intent.running, &self.knowledge, state);
    }

    /// Sees to it that probes which are to take the way of clients' packets do, wherever they may leave. What clients get does
    /// not depend on it.
    fn lay_probe_path(&mut self) {
        let config = &self.intent.running;
        let interfaces = desired::probe_interfaces(config, &self.knowledge);
        if let Err(error) = self.dataplane.lay_probe_path(interfaces) {
            tracing::error!("{error:#}");
        }
    }

    /// Has the backends probed, and runs the controller on a thread of its own until it ends; the returned channel then
    /// says why.
    pub fn spawn(mut self, inputs: mpsc::Receiver<Input>) -> anyhow::Result<oneshot::Receiver<End>> {
        self.probe();
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                let end = self.run(inputs);
                // Nobody waits for the end any more only if the daemon is ending.
                let _nobody_waits: Result<(), End> = sender.send(end);
            })
            .context("cannot start the controller")?;
        Ok(receiver)
    }

    fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> End {
        if !self.intent.migrations.is_empty() {
            self.migrate(|_, moved| {
                if let Err(error) = moved {
                    tracing::error!("clients could not be moved as they were to be before the restart: {error:#}");
                }
            });
        }
        loop {
            let mut input = inputs.try_recv().ok();
            if input.is_none() && self.behind.is_empty() {
                input = inputs.blocking_recv();
                if input.is_none() {
                    return End::Stopped;
                }
            }
            // Whatever has come meanwhile is taken in too, and the data plane changed once.
            let mut changed = false;
            while let Some(next) = input {
                match next {
                    Input::Health(verdict) => changed |= self.take_verdict(verdict),
                    Input::Neighbor(event) => changed |= self.take_neighbor_event(event),
                    Input::Alarm => changed = true,
                    Input::Sweep => self.sweep(),
                    Input::Moment => changed |= self.take_moment(),
                    Input::Wake(request) => self.take_wake_request(request),
                    Input::StartTrace(filter, reply) => {
                        self.catch_up(&mut changed);
                        if reply
                            .send(self.start_trace(&filter))
                            .is_err_and(|refused| refused.is_ok())
                        {
                            // Whoever asked has gone away.
                            self.end_trace();
                        }
                    }
                    Input::EndTrace(reply) => {
                        self.end_trace();
                        let _gone: Result<(), ()> = reply.send(());
                    }
                    Input::Request(Request::Detach, reply) => return self.detach(reply),
                    Input::Request(request, reply) => {
                        self.catch_up(&mut changed);
                        self.answer(request, reply);
                    }
                    Input::Snapshot(reply) => {
                        self.catch_up(&mut changed);
                        self.count(|controller, census| {
                            let snapshot = census.and_then(|census| controller.snapshot(census));
                            // Who has gone away needs none.
                            let _gone: Result<(), anyhow::Result<Snapshot>> = reply.send(snapshot);
                        });
                    }
                    Input::Read(reading) => {
                        self.catch_up(&mut changed);
                        self.take_reading(reading);
                    }
                }
                input = inputs.try_recv().ok();
            }
            self.catch_up(&mut changed);
        }
    }

    fn keep_downs(&mut self) {
        if mem::take(&mut self.downs_changed)
            && let Err(error) = self.knowledge.downs().write(&file_of_downs(&self.intent))
        {
            tracing::error!("{error:#}");
        }
    }

    fn sweep(&mut self) {
        let sweep = |memory: Memory| {
            let mut swept = None;
            let counted = Counted::by(|| Ok(swept.insert(memory.sweep()?).live.clone()))?;
            Ok((swept.unwrap_or_default(), counted))
        };
        self.read(sweep, |controller, swept| {
            let settled = swept.and_then(|(swept, counted)| {
                tracing::debug!("forgot {} flows and {} clients", swept.flows, swept.clients);
                controller.find_hot_spots(&swept.live.flows);
                controller.take_count(counted);
                controller.dataplane.settle(&swept)
            });
            if let Err(error) = settled {
                tracing::error!("what is over could not be forgotten: {error:#}");
            }
        });
    }

    fn take_moment(&mut self) -> bool {
        self.events.log_together();
        self.watch_traffic().unwrap_or_else(|error| {
            tracing::error!("failures in live traffic could not be looked at: {error:#}");
            false
        })
    }

    fn take_neighbor_event(&mut self, event: neighbors::Event) -> bool {
        match event {
            neighbors::Event::Way { destination, result } => {
                self.set_way(destination, result);
                true
            }
            neighbors::Event::RoutesChanged => {
                if let Err(error) = self.dataplane.forget_routes() {
                    tracing::error!("remembered routes could not be made void: {error:#}");
                }
                false
            }
        }
    }

    fn detach(self, reply: oneshot::Sender<Response>) -> End {
        let response = match self.dataplane.detach() {
            Ok(interfaces) => {
                tracing::info!("detached from {}", interfaces.join(", "));
                Response::Detached(interfaces)
            }
            Err(error) => requests::failed(&error),
        };
        let _gone: Result<(), Response> = reply.send(response);
        End::Detached
    }
}

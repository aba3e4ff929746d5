//! The daemon: puts the parts together, starts them in an order in which a failure leaves nothing behind, and ends them.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::filter_fn,
    fmt::{
        self,
        format::{DefaultFields, Format, debug_fn},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{self, Config, ConfigError},
    control::{
        protocol::{Request, Response},
        server::Server,
    },
    controller::{BackendKey, Controller, End, Followers, Handle, Input},
    dataplane::{self, Dataplane, NeighborRequests, WakeRequests},
    events::{self, Events},
    health::{self, Checker, Verdicts},
    intent::{Intent, Store},
    local_ports,
    metrics::{self, DaemonMetrics},
    neighbors::{self, Neighbors, Unreachable},
};

/// How long the start waits for the next hops of the backends. Those that are not known by then are found later.
const NEXT_HOP_PATIENCE: Duration = Duration::from_secs(2);

/// How long the end waits for the answers to clients of the control socket.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// How often flows and clients that are over are forgotten. Until then they only take up room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How often it looks at what live traffic shows of backends that are watched, and at what the log has together.
const MOMENT: Duration = Duration::from_millis(250);

/// Inputs of the controller that may wait.
const INPUTS: usize = 1_024;

/// Modules whose details help only those who work on the loader. A filter that names them gets them.
const QUIET: &str = "aya=info,aya_obj=info";

/// Sends the log to stderr, filtered by `filter`.
pub fn init_log(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .context("--log is not a filter: write a level such as info, or levels by module")?;
    let log = tracing_subscriber::registry().with(filter);
    if json {
        log.with(lines().json()).init();
        return Ok(());
    }
    let ansi = io::stderr().is_terminal();
    let is_event = |metadata: &Metadata<'_>| metadata.target() == events::LOG_TARGET;
    let message_alone = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        _ => Ok(()),
    });
    log.with(
        lines()
            .with_ansi(ansi)
            .with_filter(filter_fn(move |line| !is_event(line))),
    )
    // The message of an event says all that its fields do.
    .with(
        lines()
            .with_ansi(ansi)
            .fmt_fields(message_alone)
            .with_filter(filter_fn(is_event)),
    )
    .init();
    Ok(())
}

/// Lines on stderr.
fn lines<S>() -> fmt::Layer<S, DefaultFields, Format, fn() -> io::Stderr> {
    fmt::layer()
        // They would go to stderr, and a stderr that takes nothing, on a full disk for one, would end the process.
        .log_internal_errors(false)
        .with_writer(io::stderr)
}

/// Runs the daemon until it is told to stop. The data plane goes on without it. `config` is what the file at `path` says.
pub fn run(config: Config, path: &Path) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config, path))
}

async fn serve(file: Config, path: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    // Everything that can fail without the kernel's help comes first, attaching last.
    dataplane::require_permission()?;
    let metrics_listener = metrics::bind(file.metrics.listen).await?;
    let server = Server::bind(&file.control.socket)?;
    let store = Store::open(&file.control.state)?;
    let intent = intent(file, &store);
    let config = intent.running.clone();
    local_ports::warn_of_overlap(&config);
    let interfaces = neighbors::interfaces()
        .await?
        .named(&config.dataplane.interfaces)
        .context("dataplane.interfaces")?;
    let dataplane = Dataplane::open(&config.dataplane)?;
    note_pin_path(&config)?;

    let (inputs, inbox) = mpsc::channel(INPUTS);
    let (neighbor_events, mut neighbor_inbox) = mpsc::channel(INPUTS);
    let neighbors = Arc::new(Neighbors::start(neighbor_events).await?);
    let own_metrics = Arc::new(DaemonMetrics::open(file_of_counters(&config)));
    let events = Arc::new(Events::default());
    own_metrics.count_reload(true);
    let observer = Arc::clone(&own_metrics);
    let (checker, verdicts) = Checker::new(room_for_probes(&config), move |backend: &BackendKey, outcome| {
        observer.observe_probe(backend, outcome.result.is_ok(), outcome.duration);
    });
    let followers = Followers::new(checker, Arc::clone(&neighbors), Arc::clone(&own_metrics));
    let (mut controller, clock, readings) = Controller::new(
        intent,
        store,
        path.to_owned(),
        dataplane,
        followers,
        Arc::clone(&own_metrics),
        Arc::clone(&events),
    )?;
    await_next_hops(&mut controller, &mut neighbor_inbox).await;
    controller.reconcile()?;
    controller.dataplane().attach(&interfaces, config.dataplane.xdp_mode)?;
    for attachment in controller.dataplane().attachments() {
        tracing::info!(interface = attachment.interface, mode = ?attachment.mode, "attached");
    }
    let neighbor_requests = controller.dataplane().take_neighbor_requests()?;
    let wake_requests = controller.dataplane().take_wake_requests()?;
    let packet_log = controller.dataplane().take_packet_log()?;

    let (handle, alarms) = (Handle::new(inputs.clone()), inputs.clone());
    let mut ended = controller.spawn(inbox)?;
    let (stop, stopped) = watch::channel(());
    let answers = tokio::spawn(server.serve(handle.clone(), Arc::clone(&events), stopped));
    let tasks = [
        tokio::spawn(serve_metrics(metrics_listener, handle.clone(), own_metrics)),
        tokio::spawn(reload_on(hangup, handle)),
        tokio::spawn(forward_verdicts(verdicts, inputs.clone())),
        tokio::spawn(forward_neighbor_events(neighbor_inbox, inputs)),
        tokio::spawn(forward_neighbor_requests(neighbor_requests, neighbors)),
        tokio::spawn(forward_wake_requests(wake_requests, alarms.clone())),
        tokio::spawn(repeat(SWEEP_INTERVAL, || Input::Sweep, alarms.clone())),
        tokio::spawn(repeat(MOMENT, || Input::Moment, alarms.clone())),
        tokio::spawn(packet_log.run()),
        tokio::spawn(readings.forward(alarms.clone())),
        tokio::spawn(clock.run(alarms)),
    ];

    tracing::info!("ready");
    notify(&[NotifyState::Ready]);
    let end = tokio::select! {
        _ = terminate.recv() => End::Stopped,
        _ = interrupt.recv() => End::Stopped,
        end = &mut ended => end.context("the controller failed")?,
    };
    notify(&[NotifyState::Stopping]);
    // Who had the data plane detached is told so before the daemon ends.
    drop(stop);
    if timeout(ANSWER_PATIENCE, answers).await.is_err() {
        tracing::warn!("a client of the control socket was left without an answer");
    }
    for task in tasks {
        task.abort();
    }
    events.log_rest();
    match end {
        End::Stopped => tracing::info!("stopped; the data plane goes on forwarding"),
        End::Detached => forget_pin_path(&config.control.socket),
    }
    Ok(())
}

/// Where the daemon keeps what it counts itself.
fn file_of_counters(config: &Config) -> PathBuf {
    config.control.state.join("counters.json")
}

/// What the operator wants, from the file and from what an earlier daemon kept of run-time changes.
fn intent(file: Config, store: &Store) -> Intent {
    let Some(kept) = store.read() else {
        return Intent::of_file(file);
    };
    let merged = kept.with_file(file);
    for change in &merged.kept {
        tracing::info!("changed at run time, and kept: {change}");
    }
    for (change, why) in &merged.ended {
        tracing::warn!("changed at run time, and not kept: {change}: {why}");
    }
    // What is on disk would lead to the same again.
    if let Err(error) = store.write(&merged.intent) {
        tracing::error!("{error:#}");
    }
    merged.intent
}

/// Tells the service manager, if there is one.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}

/// How many probes may be under way at once.
fn room_for_probes(config: &Config) -> usize {
    let wanted = config.health.max_concurrent;
    let room = health::make_room(wanted);
    if room < wanted {
        tracing::warn!(
            "at most {room} probes run at once, as the hard limit of open files allows no more: raise it, or lower health.max_concurrent = {wanted}"
        );
    }
    room
}

/// Waits until every backend's next hop is known, or known to be missing.
async fn await_next_hops(controller: &mut Controller, events: &mut mpsc::Receiver<neighbors::Event>) {
    let mut missing = controller.destinations();
    let deadline = Instant::now() + NEXT_HOP_PATIENCE;
    while !missing.is_empty() {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(neighbors::Event::Way { destination, result })) => {
                // That the kernel is still asking is no answer: clients would be turned away until there is one.
                if !matches!(result, Err(Unreachable::Resolving { .. })) {
                    missing.remove(&destination);
                }
                controller.set_way(destination, result);
            }
            Ok(Some(neighbors::Event::RoutesChanged)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

async fn serve_metrics(listener: TcpListener, controller: Handle, own: Arc<DaemonMetrics>) {
    if let Err(error) = metrics::serve(listener, controller, own).await {
        tracing::error!("{error:#}");
    }
}

/// Reads the configuration file again whenever the signal comes.
async fn reload_on(mut signal: Signal, controller: Handle) {
    while signal.recv().await.is_some() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!("the clock cannot be read: {error}"),
        }

        match controller.ask(Request::Reload).await {
            Ok(Response::Refused(refusal)) => tracing::error!("not reloaded: {refusal}"),
            Ok(Response::Done(done)) => {
                for warning in done.warnings {
                    tracing::warn!("{warning}");
                }
            }
            Ok(other) => tracing::error!("the controller answered something else: {other:?}"),
            Err(error) => tracing::error!("not reloaded: {error:#}"),
        }
        notify(&[NotifyState::Ready]);
    }
}

async fn forward_verdicts(mut verdicts: Verdicts<BackendKey>, inputs: mpsc::Sender<Input>) {
    while let Some(verdict) = verdicts.recv().await {
        if inputs.send(Input::Health(verdict)).await.is_err() {
            return;
        }
    }
}

async fn forward_neighbor_events(mut events: mpsc::Receiver<neighbors::Event>, inputs: mpsc::Sender<Input>) {
    while let Some(event) = events.recv().await {
        if inputs.send(Input::Neighbor(event)).await.is_err() {
            return;
        }
    }
}

/// Has the neighbours resolved that the XDP program asks for.
async fn forward_neighbor_requests(mut requests: NeighborRequests, neighbors: Arc<Neighbors>) {
    loop {
        match requests.recv().await {
            Ok(request) => neighbors.request(request.interface, request.address.into()),
            Err(error) => return tracing::error!("neighbours that replies need are not resolved any more: {error}"),
        }
    }
}

async fn forward_wake_requests(mut requests: WakeRequests, inputs: mpsc::Sender<Input>) {
    loop {
        match requests.recv().await {
            Ok(request) => {
                if inputs.send(Input::Wake(request)).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::error!("suspended backends are not woken any more: {error}"),
        }
    }
}

async fn repeat(period: Duration, input: fn() -> Input, inputs: mpsc::Sender<Input>) {
    let mut times = interval(period);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        if inputs.send(input()).await.is_err() {
            return;
        }
    }
}

/// Where a note stands that tells which pins belong to a control socket. It stays when the daemon ends, so that `detach`
/// finds the data plane without one.
fn note_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".pins");
    PathBuf::from(path)
}

fn note_pin_path(config: &Config) -> anyhow::Result<()> {
    let path = note_path(&config.control.socket);
    fs::write(&path, config.dataplane.pin_path.as_os_str().as_encoded_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn forget_pin_path(socket: &Path) {
    let _already_gone: io::Result<()> = fs::remove_file(note_path(socket));
}

/// Where the data plane is pinned whose daemon listened at `socket`: as the configuration file says if one is named, else
/// as the daemon noted, else where it is by default.
pub fn pin_path(socket: &Path, config: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(file) = config {
        return Ok(config::load(file)?.config.dataplane.pin_path);
    }
    Ok(match fs::read_to_string(note_path(socket)) {
        Ok(path) => PathBuf::from(path),
        Err(_) => PathBuf::from(config::DEFAULT_PIN_PATH),
    })
}

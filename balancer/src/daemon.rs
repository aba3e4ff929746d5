//! The daemon: puts the parts together, starts them in an order in which a failure leaves nothing behind, and ends them.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{self, Config, ConfigError},
    control::server::Server,
    controller::{BackendKey, Controller, End, Handle, Input},
    dataplane::{Dataplane, NeighborRequests},
    health::{self, Checker, Verdicts},
    metrics::{self, DaemonMetrics},
    neighbors::{self, Interface, Neighbors},
};

/// How long the start waits for the next hops of the backends. Those that are not known by then are found later.
const NEXT_HOP_PATIENCE: Duration = Duration::from_secs(2);

/// Inputs of the controller that may wait.
const INPUTS: usize = 1_024;

/// Modules whose details help only those who work on the loader. A filter that names them gets them.
const QUIET: &str = "aya=info,aya_obj=info";

/// Sends the log to stderr, filtered by `filter`.
pub fn init_log(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .context("--log is not a filter: write a level such as info, or levels by module")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// Runs the daemon until it is told to stop. The data plane goes on without it.
pub fn run(config: Config) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Everything that can fail without the kernel's help comes first, attaching last.
    let interfaces = interfaces(&config).await?;
    let metrics_listener = metrics::bind(config.metrics.listen).await?;
    let server = Server::bind(&config.control.socket)?;
    let dataplane = Dataplane::open(&config.dataplane)?;
    note_pin_path(&config)?;

    let (inputs, inbox) = mpsc::channel(INPUTS);
    let (neighbor_events, mut neighbor_inbox) = mpsc::channel(INPUTS);
    let neighbors = Neighbors::start(neighbor_events).await?;
    let xdp_mode = config.dataplane.xdp_mode;
    let socket = config.control.socket.clone();
    let max_concurrent = room_for_probes(&config);
    let own_metrics = Arc::new(DaemonMetrics::new()?);
    own_metrics.count_reload(true);
    let mut controller = Controller::new(config, dataplane, Arc::clone(&own_metrics));
    neighbors.watch(controller.destinations());
    await_next_hops(&mut controller, &mut neighbor_inbox).await;
    controller.reconcile()?;
    controller.dataplane().attach(&interfaces, xdp_mode)?;
    for attachment in controller.dataplane().attachments() {
        tracing::info!(interface = attachment.interface, mode = ?attachment.mode, "attached");
    }
    let neighbor_requests = controller.dataplane().take_neighbor_requests()?;
    let packet_log = controller.dataplane().take_packet_log()?;

    let observer = Arc::clone(&own_metrics);
    let (mut checker, verdicts) = Checker::new(max_concurrent, move |(service, backend): &BackendKey, outcome| {
        observer.observe_probe(service, backend, outcome.result.is_ok(), outcome.duration);
    });
    checker.reconcile(controller.targets());

    let handle = Handle::new(inputs.clone());
    let mut ended = controller.spawn(inbox)?;
    let tasks = [
        tokio::spawn(server.serve(handle.clone())),
        tokio::spawn(serve_metrics(metrics_listener, handle, own_metrics)),
        tokio::spawn(forward_verdicts(verdicts, inputs.clone())),
        tokio::spawn(forward_neighbor_events(neighbor_inbox, inputs)),
        tokio::spawn(forward_neighbor_requests(neighbor_requests, neighbors)),
        tokio::spawn(packet_log.run()),
    ];

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!("ready");
    notify(&[NotifyState::Ready]);
    let end = tokio::select! {
        _ = terminate.recv() => End::Stopped,
        _ = interrupt.recv() => End::Stopped,
        end = &mut ended => end.context("the controller failed")?,
    };
    notify(&[NotifyState::Stopping]);
    for task in tasks {
        task.abort();
    }
    match end {
        End::Stopped => tracing::info!("stopped; the data plane goes on forwarding"),
        End::Detached => forget_pin_path(&socket),
    }
    Ok(())
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}

/// The configured interfaces as the kernel describes them.
async fn interfaces(config: &Config) -> anyhow::Result<Vec<Interface>> {
    let present = neighbors::interfaces().await?;
    let mut found = Vec::new();
    for name in &config.dataplane.interfaces {
        match present.by_name(name) {
            Some(interface) => found.push(interface.clone()),
            None => bail!(
                "dataplane.interfaces: there is no interface {name}; there are {}",
                present.names().join(", ")
            ),
        }
    }
    Ok(found)
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

/// Waits for the first next hop of every backend.
async fn await_next_hops(controller: &mut Controller, events: &mut mpsc::Receiver<neighbors::Event>) {
    let mut missing = controller.destinations();
    let deadline = Instant::now() + NEXT_HOP_PATIENCE;
    while !missing.is_empty() {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(neighbors::Event::NextHop { destination, result })) => {
                missing.remove(&destination);
                controller.set_next_hop(destination, result);
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
async fn forward_neighbor_requests(mut requests: NeighborRequests, neighbors: Neighbors) {
    loop {
        match requests.recv().await {
            Ok(request) => neighbors.request(request.interface, request.address.into()),
            Err(error) => return tracing::error!("neighbours that replies need are not resolved any more: {error}"),
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

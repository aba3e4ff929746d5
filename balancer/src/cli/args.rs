//! The flags, as data. What they mean is decided elsewhere.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    client_address::ClientAddress, client_prefix::ClientPrefix, connection_id::ConnectionId, decap::DecapArgs,
};

mod backend;
mod flows;
mod service;

pub(super) use backend::{AddBackendArgs, BackendArgs, BackendCommand};
pub(super) use flows::{FilterArgs, FlowsCommand};
pub(super) use service::{AddServiceArgs, ServiceCommand};

/// Layer-4 affinity load balancer.
#[derive(Debug, Parser)]
#[command(name = "balancer", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// The daemon's control socket.
    #[arg(
        long,
        global = true,
        env = "BALANCER_SOCKET",
        value_name = "PATH",
        default_value = "/run/balancer/balancer.sock"
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground; it logs to stderr.
    ///
    /// The data plane goes on forwarding when the daemon is stopped, killed or replaced; `balancer detach` removes it.
    Run(RunArgs),
    /// Validate a configuration file and touch nothing.
    Check(FileArgs),
    /// Show what applying a configuration file would change: services, backends, clients and live flows. Changes nothing.
    Plan(PlanArgs),
    /// Make a configuration file everything that runs, run-time changes included, in one step.
    ///
    /// It outlives a restart. Nothing changes if any part of it is invalid.
    Apply(FileArgs),
    /// Have the daemon read its own configuration file again; SIGHUP does the same.
    ///
    /// What was changed at run time goes on, unless the file has changed the same thing since.
    Reload,
    /// Write what runs, run-time changes included, as a configuration file.
    Export,
    /// Show how the daemon and its data plane are.
    Status(OutputArgs),
    /// Services: list and change them.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Backends: list and change them.
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Show where a client's packets go right now, and why.
    Lookup(LookupArgs),
    /// Follow what is decided about single packets, and why. Costs nothing unless it runs; one at a time.
    Trace(TraceArgs),
    /// Remembered flows: list, count and forget them.
    #[command(subcommand)]
    Flows(FlowsCommand),
    /// Show changes of state: backends that went up or down, what operators changed, each with cause and effect.
    Events(EventsArgs),
    /// Show on the whole screen what goes on right now: services, backends, flows and drops. `q` ends it.
    Top(TopArgs),
    /// Take the data plane off its interfaces. A daemon that runs ends.
    Detach(DetachArgs),
    /// Take packets out of the tunnels of `ipip` and `gue` services. Runs on backends, in the foreground.
    ///
    /// It needs no daemon and no configuration. When it ends, packets in tunnels are not taken out any more.
    Decap(DecapArgs),
    /// Tell what the data plane's programs cost the kernel: it loads them, and neither pins nor attaches them.
    Programs(OutputArgs),
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/balancer/balancer.toml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What is logged, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or levels by module as in
    /// `info,balancer::health=debug`.
    #[arg(long = "log", value_name = "FILTER", env = "BALANCER_LOG", default_value = "info")]
    pub filter: String,
    /// How to write the log.
    #[arg(long = "log-format", value_enum, default_value_t = LogFormat::Text)]
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON document per line.
    Json,
}

/// A configuration file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The configuration file.
    pub file: PathBuf,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The configuration file.
    pub file: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How the result of a reading command is written.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// How to write the result.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Flags of `lookup`.
#[derive(Debug, Args)]
pub struct LookupArgs {
    /// The service's name.
    pub service: String,
    /// The client's address, with its port where the service's affinity counts it: `10.0.0.1:40000` or
    /// `[2001:db8::1]:40000`.
    #[arg(value_name = "CLIENT[:PORT]")]
    pub client: ClientAddress,
    /// The QUIC connection ID, in hexadecimal, that its packets carry, where the service's affinity looks at it.
    #[arg(long, value_name = "HEX")]
    pub connection_id: Option<ConnectionId>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Only packets of this service.
    pub service: Option<String>,
    /// Only packets of this backend of the service: its name, or its address with or without port.
    #[arg(long, value_name = "ADDR", requires = "service")]
    pub backend: Option<String>,
    /// Only packets from or to this client, or the clients of this prefix.
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    pub client: Option<ClientPrefix>,
    /// Only packets that are dropped.
    #[arg(long)]
    pub drops: bool,
    /// Only packets that are dropped for this reason, as in the metrics; may be given several times.
    #[arg(long = "reason", value_name = "REASON")]
    pub reasons: Vec<String>,
    /// How many packets to show in a second, and at once, for each CPU.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// End after so many packets.
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Write the packets, as they came and as they left, to this file (pcapng, up to 2048 bytes each).
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with each further one as it comes; as JSON, one document per line.
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `top`.
#[derive(Clone, Copy, Debug, Args)]
pub struct TopArgs {
    /// Time from one look to the next, which rates are taken over.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    pub interval: Duration,
    /// Write one frame as text, for which no terminal is needed.
    #[arg(long)]
    pub once: bool,
}

/// Flags of `detach`.
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The configuration file that says where the data plane is pinned, if no daemon runs.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

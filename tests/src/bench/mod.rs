//! The benchmarks: what the balancer costs, beside what it is compared with in the same run.
//!
//! - `packet`: nanoseconds per packet in the kernel's program.
//! - `control`: how long the daemon's own work takes, `million` with as many flows, `failover` until packets go elsewhere.
//! - `traffic`: connections through namespaces, beside what else balances them.
//! - `flood`: connections through namespaces while SYNs come from everywhere.
//! - `probes`: what health checks of two thousand backends cost.
//! - `scrape`: how long the metrics of a hundred thousand backends take.
//! - `scale`: packets and maps, as there is more of everything.
//! - `machine`: what they are run on.
//! - `programs`: what the kernel is told to run.
//! - `progress`: what is being measured.
//! - `statistics`, `report`, `output`: from samples to a table, a drawing and JSON.
//! - `chart`, `curves`, `svg`: drawings.

mod chart;
mod control;
mod curves;
mod failover;
mod flood;
mod machine;
mod million;
mod output;
mod packet;
mod probes;
mod programs;
mod progress;
mod report;
mod scale;
mod scrape;
mod statistics;
mod svg;
mod traffic;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, ValueEnum};

use self::output::Output;

/// What the benchmarks are told.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    about = "Measure the balancer beside what it is compared with"
)]
pub struct Arguments {
    /// Which ones; all of them unless named
    names: Vec<Name>,
    /// Where results are written
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Where drawings are written besides
    #[arg(long)]
    charts: Option<PathBuf>,
    /// How often everything is measured: more rounds, less noise
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Measure only what has this in its name, such as `ipip`
    #[arg(long, default_value = "")]
    only: String,
}

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Name {
    /// Nanoseconds per packet in the kernel's program
    Packet,
    /// Connections through namespaces, beside nftables, `HAProxy` and nginx
    Traffic,
    /// Connections through namespaces while SYNs come from everywhere
    Flood,
    /// How long tables, changes and restarts take
    Control,
    /// What it costs to probe 2,000 backends every second
    Probes,
    /// How long the metrics of 100,000 backends take
    Scrape,
    /// What packets and tables cost as services, backends and flows become more
    Scale,
}

/// Runs the benchmarks that are asked for.
///
/// # Errors
///
/// If something cannot be measured, or results cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "namespaces and XDP programs take root: start the benchmarks by `cargo xtask bench`"
    );
    let output = Output::new(&arguments.out, arguments.charts.as_deref())?;
    let names = match arguments.names.as_slice() {
        [] => Name::value_variants(),
        names => names,
    };
    for name in names {
        match name {
            Name::Packet => packet::run(arguments.rounds.max(1), &arguments.only, &output)?,
            Name::Traffic => traffic::run(arguments.rounds.clamp(1, 7), &output)?,
            Name::Flood => flood::run(arguments.rounds.clamp(1, 5), &arguments.only, &output)?,
            Name::Control => control::run(arguments.rounds.max(1), &output)?,
            Name::Probes => probes::run(&output)?,
            Name::Scrape => scrape::run(arguments.rounds.max(1), &output)?,
            Name::Scale => scale::run(arguments.rounds.max(1), &output)?,
        }
    }
    Ok(())
}

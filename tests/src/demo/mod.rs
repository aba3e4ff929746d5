//! The demo: real requests cross the XDP program to three real servers, and what is claimed of them is checked.
//!
//! - `stage`: the hosts, servers and the daemon.
//! - `clients`, `attempt`, `stream`: what is sent and what becomes of it.
//! - `watch`, `metrics`: what the daemon says meanwhile.
//! - `judge`: whether what was seen is what is claimed.
//! - `steps`: what is shown, in order.
//! - `report`: what the audience reads.

mod attempt;
mod clients;
mod interrupt;
mod judge;
mod leftovers;
mod metrics;
mod report;
mod stage;
mod steps;
mod stream;
mod watch;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, ensure};

use self::{clients::Clients, interrupt::Interrupt, report::Report, stage::Stage};
use crate::lab::{Arms, Network};

/// Exit status of a process that a signal ended, but for the signal's number (the shells' convention).
const SIGNALLED: u8 = 128;

/// Shows everything, cleans up, and returns 0 if all that was claimed held.
pub fn run() -> anyhow::Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "namespaces and XDP programs take root: start the demo by `cargo xtask demo`"
    );
    let interrupt = Arc::new(Interrupt::watch().context("signals cannot be watched for")?);
    announce_panics(Arc::clone(&interrupt));
    let mut report = Report::default();
    let started = Instant::now();
    // The lab panics where it cannot go on; what it has made is taken down on the way here.
    let end = panic::catch_unwind(AssertUnwindSafe(|| perform(&interrupt, &mut report)));
    let taken_down = leftovers::none();
    if let Some(signal) = interrupt.signal() {
        match taken_down {
            Ok(()) => eprintln!("interrupted; everything that the demo made is taken down"),
            Err(left) => eprintln!("interrupted; left behind: {left}"),
        }
        return Ok(ExitCode::from(SIGNALLED + signal));
    }
    let unfinished = match end {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_announced) => Some("see the error above".to_owned()),
    };
    if let Some(why) = unfinished {
        report.claim("This could be shown to its end", Err(why));
    }
    report.act(
        "The demo leaves nothing behind",
        "Servers, daemon and namespaces are removed.",
    );
    report.claim("No namespace, no pinned object and no process is left", taken_down);
    Ok(report.conclude(started.elapsed()))
}

/// Says in one line why the lab could not go on, unless that is somebody's wish.
fn announce_panics(interrupt: Arc<Interrupt>) {
    panic::set_hook(Box::new(move |panic| {
        if interrupt.signal().is_none() {
            eprintln!("error: {}", panic.payload_as_str().unwrap_or("the lab failed"));
        }
    }));
}

fn perform(interrupt: &Interrupt, report: &mut Report) -> anyhow::Result<()> {
    steps::setup::announce(report);
    let network = Network::new(Arms::Two, stage::BACKENDS);
    interrupt.check()?;
    let clients = Clients::new(&network, interrupt);
    let mut stage = Stage::new(&network);
    interrupt.check()?;
    let result = act(&clients, &mut stage, report);
    if interrupt.signal().is_none() && (result.is_err() || report.verdict().is_err()) {
        eprintln!("\nthe daemon's log:\n{}", stage.balancer.output());
    }
    result
}

fn act(clients: &Clients<'_>, stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    steps::setup::check(clients, stage, report)?;
    steps::spread::show(clients, stage, report)?;
    let mut regulars = steps::stickiness::show(clients, report)?;
    steps::lookup::show(clients, stage, &mut regulars, report)?;
    steps::failover::show(clients, stage, &mut regulars, report)?;
    steps::comeback::show(clients, stage, &mut regulars, report)?;
    steps::drain::show(clients, stage, report)?;
    steps::counters::show(clients, stage, report)?;
    steps::drops::show(clients, stage, report)?;
    steps::restart::show(clients, stage, report)?;
    steps::detach::show(clients, stage, report)
}

//! The backend's side of tunnels: takes packets out of them, and tells what a backend lacks for answering clients
//! directly.

pub mod check;
mod host;

use anyhow::Context as _;
use ipnet::IpNet;
use sd_notify::NotifyState;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

pub use host::facts;

use crate::{
    config::XdpMode,
    daemon::notify,
    dataplane::{Decapsulator, FateCounts, counts_on},
    neighbors::{self, AttachedMode},
};

/// What takes packets out of tunnels, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interfaces that they come in by.
    pub interfaces: Vec<String>,
    /// Where in the receive path to look at packets.
    pub xdp_mode: XdpMode,
    /// Where tunnels may begin; empty for anywhere.
    pub allowed: Vec<IpNet>,
}

/// Takes packets out of tunnels until SIGTERM or SIGINT, then stops doing so and logs what became of them.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let interfaces = neighbors::interfaces().await?.named(&options.interfaces)?;
    if options.allowed.is_empty() {
        tracing::warn!(
            "packets are taken from whoever sends them: name the balancers' addresses with --allow, unless the network \
             keeps others from sending to this host"
        );
    }
    let decapsulator = Decapsulator::attach(&interfaces, options.xdp_mode, &options.allowed)?;
    for attachment in decapsulator.attachments() {
        tracing::info!(interface = attachment.interface, mode = ?attachment.mode, "taking packets out of tunnels");
    }
    notify(&[NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notify(&[NotifyState::Stopping]);
    for (fate, count) in decapsulator.counts()? {
        if count > 0 {
            tracing::info!(packets = count, "{}: {}", fate.label(), fate.description());
        }
    }
    tracing::info!("stopped; packets in tunnels are not taken out any more");
    Ok(())
}

/// An interface where packets are taken out of tunnels.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub interface: String,
    /// Where in the receive path.
    pub mode: AttachedMode,
    /// What became of packets.
    pub packets: Vec<FateView>,
}

/// How many packets met a fate.
#[derive(Clone, Debug, Serialize)]
pub struct FateView {
    /// The fate's label.
    pub fate: &'static str,
    /// Packets.
    pub packets: u64,
    /// What the fate means.
    pub meaning: &'static str,
}

/// What became of packets on these interfaces, or on all where packets are taken out of tunnels.
pub async fn status(interfaces: &[String]) -> anyhow::Result<Vec<Status>> {
    let present = neighbors::interfaces().await?;
    let interfaces = if interfaces.is_empty() {
        present.into_vec()
    } else {
        present.named(interfaces)?
    };
    let mut statuses = Vec::new();
    for interface in interfaces {
        let counts =
            counts_on(&interface).with_context(|| format!("cannot read the counters of {}", interface.name))?;
        if let (Some(counts), Some(program)) = (counts, interface.xdp) {
            statuses.push(Status {
                interface: interface.name,
                mode: program.mode,
                packets: views(&counts),
            });
        }
    }
    Ok(statuses)
}

fn views(counts: &FateCounts) -> Vec<FateView> {
    counts
        .iter()
        .map(|&(fate, packets)| FateView {
            fate: fate.label(),
            packets,
            meaning: fate.description(),
        })
        .collect()
}

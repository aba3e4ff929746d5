//! What is flooded.

use anyhow::{Context as _, ensure};

use super::{conntrack, stage::SERVICE};
use crate::{
    bench::traffic,
    lab::{Balancer, Namespace, Network, Service, eventually},
};

/// Room for flows.
const MAX_FLOWS: u32 = 1 << 20;

/// A balancer, and what it remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Contender {
    /// This balancer with this `tracking`.
    Balancer(&'static str),
    /// Netfilter's translation of destinations, which tracks connections.
    Nftables,
}

/// A contender at work. It ends with this.
pub(super) enum Running<'a> {
    Balancer(Box<Balancer<'a>>),
    Nftables {
        host: &'a Namespace,
        _rules: traffic::Running<'a>,
    },
}

impl Contender {
    /// All.
    pub(super) const ALL: [Self; 4] = [
        Self::Balancer("full"),
        Self::Balancer("changes"),
        Self::Balancer("none"),
        Self::Nftables,
    ];

    /// What it is called.
    pub(super) fn name(self) -> String {
        match self {
            Self::Balancer(tracking) => format!("balancer, {tracking}"),
            Self::Nftables => "nftables".to_owned(),
        }
    }

    /// Whether connections outlive a change of its table.
    pub(super) fn keeps_flows(self) -> bool {
        matches!(self, Self::Balancer(tracking) if tracking != "none")
    }

    /// Puts it to work.
    pub(super) fn start(self, network: &Network) -> anyhow::Result<Running<'_>> {
        let host = &network.balancer;
        let running = match self {
            Self::Balancer(tracking) => Running::Balancer(Box::new(balancer(network, tracking))),
            Self::Nftables => {
                // Of the round before.
                host.enter(conntrack::forget_all)?;
                let rules = traffic::Contender::Nftables.start(network)?;
                Running::Nftables { host, _rules: rules }
            }
        };
        eventually("connections go through", || {
            network.client.enter(|| traffic::exchange_once(SERVICE)).ok()
        });
        Ok(running)
    }
}

fn balancer<'a>(network: &'a Network, tracking: &str) -> Balancer<'a> {
    let service = Service::tcp("web", Network::VIP, &[SERVICE.port()])
        .key(&format!("tracking = \"{tracking}\""))
        .backends(network.count(), traffic::PORT)
        .to_string();
    let mut balancer = Balancer::new(&network.balancer, &["eth0", "eth1", "eth2"], &service);
    balancer.settings.max_flows = MAX_FLOWS;
    balancer.configure(&service);
    balancer.run();
    balancer
}

/// Gives nearly all slots of the first backend to the others.
pub(super) fn take_most_slots(balancer: &Balancer<'_>) -> anyhow::Result<()> {
    let output = balancer.command(&["backend", "weight", "web", "b1", "1"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the weight cannot be set: {complaint}");
    Ok(())
}

impl Running<'_> {
    /// How many flows it remembers.
    pub(super) fn flows(&self) -> anyhow::Result<u64> {
        match self {
            Self::Balancer(balancer) => {
                balancer.forget_counts();
                Ok(balancer.flows())
            }
            Self::Nftables { host, .. } => {
                let count = host.run("sysctl", "-n net.netfilter.nf_conntrack_count").stdout;
                let count = String::from_utf8_lossy(&count);
                count.trim().parse().context("the kernel counts its connections")
            }
        }
    }

    /// A count of the flood's packets that it has met, of which only differences mean something: what the data plane counts
    /// for the service, but for what the client has sent; or what has come in from the flooding host.
    pub(super) fn flooded(&self, network: &Network) -> u64 {
        match self {
            Self::Balancer(balancer) => {
                let all = balancer.metric("balancer_service_packets_total{service=\"web\"}");
                all.wrapping_sub(network.client.link("eth0").sent)
            }
            Self::Nftables { host, .. } => host.link("eth2").received,
        }
    }
}

//! What balances the connections.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;
use tempfile::TempDir;

use super::server::PORT;
use crate::lab::{Balancer, Namespace, Network, Process, Service, eventually};

/// A way to the backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Contender {
    /// Nothing: clients talk to a backend, through a host that forwards.
    Direct,
    /// This balancer, by NAT.
    Balancer,
    /// Netfilter's translation of destinations.
    Nftables,
    /// `HAProxy` for TCP.
    HaProxy,
    /// nginx with its `stream` module.
    Nginx,
}

/// A contender at work. It ends with this.
pub(in crate::bench) enum Running<'a> {
    Direct,
    Balancer { _daemon: Box<Balancer<'a>> },
    Nftables(&'a Namespace),
    Proxy { _process: Process, _folder: TempDir },
}

impl Contender {
    /// All, the one that the others are compared with first.
    pub(in crate::bench) const ALL: [Self; 5] =
        [Self::Direct, Self::Balancer, Self::Nftables, Self::HaProxy, Self::Nginx];

    /// What it is called.
    pub(in crate::bench) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Balancer => "balancer",
            Self::Nftables => "nftables",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where clients connect to.
    pub(in crate::bench) const fn address(self) -> SocketAddr {
        match self {
            Self::Direct => SocketAddr::new(IpAddr::V4(Network::backend(0)), PORT),
            _ => SocketAddr::new(IpAddr::V4(Network::VIP), 80),
        }
    }

    /// Puts it to work.
    pub(in crate::bench) fn start(self, network: &Network) -> anyhow::Result<Running<'_>> {
        let host = &network.balancer;
        let running = match self {
            Self::Direct => Running::Direct,
            Self::Balancer => {
                let service = Service::tcp("web", Network::VIP, &[80]).backends(network.count(), PORT);
                let balancer = Balancer::start(host, &network.interfaces, &service.to_string());
                Running::Balancer {
                    _daemon: Box::new(balancer),
                }
            }
            Self::Nftables => {
                let (folder, file) = configure("nftables.conf", include_str!("nftables.conf"))?;
                host.run("nft", &format!("-f {file}"));
                drop(folder);
                Running::Nftables(host)
            }
            Self::HaProxy => proxy(host, "haproxy", include_str!("haproxy.cfg"), &["-db", "-f"])?,
            Self::Nginx => proxy(host, "nginx", include_str!("nginx.conf"), &["-c"])?,
        };
        let address = self.address();
        eventually("connections go through", || {
            network.client.enter(|| super::client::exchange_once(address)).ok()
        });
        Ok(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Self::Nftables(host) = self {
            host.run("nft", "flush ruleset");
        }
    }
}

fn proxy<'a>(host: &Namespace, program: &str, configuration: &str, options: &[&str]) -> anyhow::Result<Running<'a>> {
    let (folder, file) = configure(program, configuration)?;
    let log = folder.path().join("log");
    let process = Process::start(host.command(program).args(options).arg(file), &log);
    Ok(Running::Proxy {
        _process: process,
        _folder: folder,
    })
}

/// Writes a configuration to a file of its own.
fn configure(name: &str, configuration: &str) -> anyhow::Result<(TempDir, String)> {
    let folder = tempfile::tempdir().context("a temporary directory can be made")?;
    let file = folder.path().join(name);
    let configuration = configuration.replace("{folder}", &folder.path().display().to_string());
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.display().to_string();
    Ok((folder, file))
}

//! The stage: hosts, servers and the daemon.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;
use balancer::control::protocol::{BackendView, Lookup};

use super::metrics::Scrape;
use crate::lab::{self, Balancer, Farm, HttpServer, Network};

/// Number of backends.
pub(super) const BACKENDS: u8 = 3;

/// What the lab calls them.
pub(super) const NAMES: [&str; BACKENDS as usize] = ["b0", "b1", "b2"];

/// Port that the servers listen at.
pub(super) const SERVER_PORT: u16 = 8080;

/// Time between two probes of a backend, in milliseconds, and the most that one may take.
pub(super) const PROBE_INTERVAL: u32 = 200;

/// Successful probes in a row that bring a backend back.
pub(super) const HEALTHY_THRESHOLD: u32 = 2;

/// Failed probes in a row that take a backend out.
pub(super) const UNHEALTHY_THRESHOLD: u32 = 3;

/// The two services, which have the same servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Service {
    /// Over IPv4.
    Web,
    /// Over IPv6.
    Web6,
}

impl Service {
    pub(super) const ALL: [Self; 2] = [Self::Web, Self::Web6];

    /// Where its clients find it.
    pub(super) fn vip(self) -> SocketAddr {
        let vip = match self {
            Self::Web => IpAddr::from(Network::VIP),
            Self::Web6 => IpAddr::from(Network::VIP6),
        };
        SocketAddr::new(vip, 80)
    }

    /// The one that a client of this address uses.
    pub(super) const fn of(client: SocketAddr) -> Self {
        match client {
            SocketAddr::V4(_) => Self::Web,
            SocketAddr::V6(_) => Self::Web6,
        }
    }

    fn configuration(self) -> String {
        let vip = self.vip();
        lab::Service::tcp(&self.to_string(), vip.ip(), &[vip.port()])
            .health(&format!(
                "kind = \"http\"\n\
                 path = \"/health\"\n\
                 interval = \"{PROBE_INTERVAL}ms\"\n\
                 timeout = \"{PROBE_INTERVAL}ms\"\n\
                 healthy_threshold = {HEALTHY_THRESHOLD}\n\
                 unhealthy_threshold = {UNHEALTHY_THRESHOLD}"
            ))
            .backends(BACKENDS, SERVER_PORT)
            .to_string()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Web => "web",
            Self::Web6 => "web6",
        })
    }
}

/// The servers and the daemon, which end when it goes.
pub(super) struct Stage<'a> {
    pub(super) network: &'a Network,
    pub(super) balancer: Balancer<'a>,
    servers: Farm<HttpServer>,
}

impl<'a> Stage<'a> {
    /// Starts everything.
    pub(super) fn new(network: &'a Network) -> Self {
        let servers = Farm::http(network, SERVER_PORT);
        let services = Service::ALL.map(Service::configuration).concat();
        Self {
            network,
            balancer: Balancer::start(&network.balancer, &network.interfaces, &services),
            servers,
        }
    }

    /// Starts the server of a backend, with nothing in its memory.
    pub(super) fn start_server(&mut self, number: u8) {
        self.servers.start(self.network, number);
    }

    /// Kills the server of a backend, without a chance for it to say good-bye.
    pub(super) fn kill_server(&mut self, number: u8) {
        self.servers.kill(number);
    }

    /// The backends of a service, in the order of [`NAMES`], as the command line shows them.
    pub(super) fn backends(&self, service: Service) -> Vec<BackendView> {
        self.balancer.json(&["backend", "list", &service.to_string()])
    }

    /// The shares of new clients of a service, in the order of [`NAMES`].
    pub(super) fn shares(&self, service: Service) -> [f64; BACKENDS as usize] {
        let backends = self.backends(service);
        NAMES.map(|name| {
            let mut named = backends.iter().filter(|backend| backend.name == name);
            named.next().map_or(0.0, |backend| backend.share)
        })
    }

    /// Where a client's packets go, as the command line says.
    pub(super) fn lookup(&self, client: SocketAddr) -> Lookup {
        let service = Service::of(client).to_string();
        self.balancer.json(&["lookup", &service, &client.to_string()])
    }

    /// What the metrics endpoint says right now.
    pub(super) fn scrape(&self) -> anyhow::Result<Scrape> {
        let reply = self.balancer.scrape("/metrics");
        Ok(Scrape::new(
            reply.context("the metrics endpoint does not answer")?.text(),
        ))
    }
}

//! Probes: one question to one backend.

mod command;
mod datagram;
mod dns;
mod failure;
mod grpc;
mod http;
#[cfg(test)]
pub(super) mod loopback;
mod pattern;
mod socket;
mod stream;
mod tcp;
mod tls;
mod udp;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::failure::Failure;
use self::{command::CommandProbe, dns::DnsProbe, grpc::GrpcProbe, http::HttpProbe, tcp::TcpProbe, udp::UdpProbe};
use super::Destination;
use crate::config::{self, HealthCheck};

/// Bytes of an answer that are read at most: enough for any sane header, little enough for thousands at a time.
const MAX_REPLY: usize = 16 * 1024;

/// What probes call themselves.
const AGENT: &str = concat!("balancer/", env!("CARGO_PKG_VERSION"));

/// A way to ask a backend whether it serves.
pub(super) trait Probe: Send + Sync {
    /// Asks once, with no limit of its own on time: [`within`] drops the future when the time is up, which must leave
    /// nothing behind.
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>>;
}

/// The probe that a health check asks for.
pub(super) fn from_config(check: &HealthCheck) -> Arc<dyn Probe> {
    match &check.probe {
        config::Probe::Tcp(tcp) => Arc::new(TcpProbe::new(tcp)),
        config::Probe::Http(http) => Arc::new(HttpProbe::new(http)),
        config::Probe::Udp(udp) => Arc::new(UdpProbe::new(udp, check.timeout)),
        config::Probe::Dns(dns) => Arc::new(DnsProbe::new(dns)),
        config::Probe::Grpc(grpc) => Arc::new(GrpcProbe::new(grpc)),
        config::Probe::Command(command) => Arc::new(CommandProbe::new(command)),
    }
}

/// Asks once and gives `timeout` for everything from the connection to the end of the answer.
pub(super) async fn within(timeout: Duration, probe: &dyn Probe, destination: &Destination) -> Result<(), Failure> {
    tokio::time::timeout(timeout, probe.probe(destination))
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

//! Probes: one question to one backend.

mod failure;
mod http;
#[cfg(test)]
pub(super) mod loopback;
mod pattern;
mod tcp;
mod tls;

use std::{net::SocketAddr, time::Duration};

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

pub use self::failure::Failure;
use self::{http::HttpProbe, tcp::TcpProbe};
use crate::config;

/// Bytes of an answer that are read at most: enough for any sane header, little enough for thousands at a time.
const MAX_REPLY: u64 = 16 * 1024;

/// A way to ask a backend whether it serves.
pub(super) trait Probe: Send + Sync {
    /// Asks `target` once, with no limit of its own on time: [`within`] drops the future when the time is up, which
    /// must leave nothing behind.
    fn probe(&self, target: SocketAddr) -> BoxFuture<'_, Result<(), Failure>>;
}

/// The probe that a configuration asks for.
pub(super) fn from_config(probe: &config::Probe) -> Box<dyn Probe> {
    match probe {
        config::Probe::Tcp(tcp) => Box::new(TcpProbe::new(tcp)),
        config::Probe::Http(http) => Box::new(HttpProbe::new(http)),
    }
}

/// Asks `target` once and gives it `timeout` for everything from the connection to the end of the answer.
pub(super) async fn within(timeout: Duration, probe: &dyn Probe, target: SocketAddr) -> Result<(), Failure> {
    tokio::time::timeout(timeout, probe.probe(target))
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

/// Opens a connection that is closed with a reset.
///
/// The side that closes first keeps the connection in `TIME_WAIT` for a minute, which at thousands of probes per second
/// would be some hundred thousand dead sockets here. A reset leaves none on either side, and frees what a backend that
/// hangs would go on holding.
async fn connect(target: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(target).await?;
    stream.set_zero_linger()?;
    Ok(stream)
}

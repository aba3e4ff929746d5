//! The same server on every backend of a network.

use std::{net::IpAddr, path::Path};

use tempfile::TempDir;

use super::{HttpServer, Namespace, Network, UdpServer};

/// Servers of one kind, one on each backend, with the backends' names.
pub struct Farm<S> {
    /// In the order of the backends; `None` is one that was killed.
    servers: Vec<Option<S>>,
    start: fn(&Namespace, &str, IpAddr, u16, &Path) -> S,
    port: u16,
    directory: TempDir,
}

impl Farm<HttpServer> {
    /// HTTP servers at `port`.
    pub fn http(network: &Network, port: u16) -> Self {
        Self::new(network, HttpServer::start, port)
    }
}

impl Farm<UdpServer> {
    /// UDP servers at `port`.
    pub fn udp(network: &Network, port: u16) -> Self {
        Self::new(network, UdpServer::start, port)
    }
}

impl<S> Farm<S> {
    fn new(network: &Network, start: fn(&Namespace, &str, IpAddr, u16, &Path) -> S, port: u16) -> Self {
        let mut farm = Self {
            servers: Vec::new(),
            start,
            port,
            directory: tempfile::tempdir().expect("a temporary directory can be made"),
        };
        for number in 0..network.count() {
            farm.servers.push(None);
            farm.start(network, number);
        }
        farm
    }

    /// Starts the server of a backend, counted from 0, after it was killed.
    pub fn start(&mut self, network: &Network, number: u8) {
        let index = usize::from(number);
        let name = Network::backend_name(number);
        let log = self.directory.path().join(&name);
        let address = Network::backend(number).into();
        self.servers[index] = Some((self.start)(&network.backends[index], &name, address, self.port, &log));
    }

    /// The server of a backend.
    ///
    /// # Panics
    ///
    /// If it was killed.
    pub fn server(&self, number: u8) -> &S {
        self.servers[usize::from(number)].as_ref().expect("the server runs")
    }

    /// Kills the server of a backend. Its host stays.
    pub fn kill(&mut self, number: u8) {
        self.servers[usize::from(number)] = None;
    }
}

//! Services as configuration files have them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::Network;

/// A `[[service]]` of a configuration file. Displayed as TOML.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service's own keys.
    head: String,
    vip: IpAddr,
    /// The tables below it.
    tables: String,
}

impl Service {
    /// A service without backends. No ports mean every port.
    pub fn new(name: &str, protocol: &str, vip: impl Into<IpAddr>, ports: &[u16]) -> Self {
        let vip = vip.into();
        let head = format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = {ports:?}\nprotocol = \"{protocol}\"\n"
        );
        Self {
            head,
            vip,
            tables: String::new(),
        }
    }

    /// A TCP service without backends.
    pub fn tcp(name: &str, vip: impl Into<IpAddr>, ports: &[u16]) -> Self {
        Self::new(name, "tcp", vip, ports)
    }

    /// A UDP service without backends.
    pub fn udp(name: &str, vip: impl Into<IpAddr>, ports: &[u16]) -> Self {
        Self::new(name, "udp", vip, ports)
    }

    /// With this way of forwarding.
    #[must_use]
    pub fn forwarding(self, forwarding: &str) -> Self {
        self.key(&format!("forwarding = \"{forwarding}\""))
    }

    /// With the first `count` backends of the network, by their names. No port keeps the client's.
    #[must_use]
    pub fn backends(mut self, count: u8, port: impl Into<Option<u16>>) -> Self {
        let port = port.into();
        for number in 0..count {
            let address = Network::backend_of(self.vip, number);
            let address = match port {
                Some(port) => SocketAddr::new(address, port).to_string(),
                None => address.to_string(),
            };
            let name = Network::backend_name(number);
            self = self.backend(&name, &address);
        }
        self
    }

    /// With one more backend.
    #[must_use]
    pub fn backend(self, name: &str, address: &str) -> Self {
        self.table(
            "[service.backend]",
            &format!("name = \"{name}\"\naddress = \"{address}\""),
        )
    }

    /// With one more of the service's own keys: a line.
    #[must_use]
    pub fn key(mut self, line: &str) -> Self {
        self.head.push_str(line);
        self.head.push('\n');
        self
    }

    /// With backends of the other IP version where those of [`backends`](Self::backends) would have the VIP's.
    #[must_use]
    pub fn backends_of(mut self, peer: impl Into<IpAddr>, count: u8, port: impl Into<Option<u16>>) -> Self {
        let vip = std::mem::replace(&mut self.vip, peer.into());
        Self {
            vip,
            ..self.backends(count, port)
        }
    }

    /// With a health check: the lines of `[service.health]`.
    #[must_use]
    pub fn health(self, lines: &str) -> Self {
        self.table("service.health", lines)
    }

    /// With passive detection: the lines of `[service.passive]`.
    #[must_use]
    pub fn passive(self, lines: &str) -> Self {
        self.table("service.passive", lines)
    }

    /// With source lists: the lines of `[service.sources]`.
    #[must_use]
    pub fn sources(self, lines: &str) -> Self {
        self.table("service.sources", lines)
    }

    /// With limits: the lines of `[service.limits]`.
    #[must_use]
    pub fn limits(self, lines: &str) -> Self {
        self.table("service.limits", lines)
    }

    fn table(mut self, name: &str, lines: &str) -> Self {
        for part in ["[", name, "]\n", lines, "\n"] {
            self.tables.push_str(part);
        }
        self
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, self.tables)
    }
}

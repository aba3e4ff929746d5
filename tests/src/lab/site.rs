//! A network with servers of both kinds on every backend.

use std::net::{IpAddr, SocketAddr};

use super::{Arms, Balancer, Farm, HttpServer, Network, Servers, UdpServer};

/// Backends with HTTP and UDP servers, behind a VIP.
pub struct Site {
    /// The hosts.
    pub network: Network,
    _http: Farm<HttpServer>,
    _udp: Farm<UdpServer>,
}

impl Site {
    /// Port of the HTTP servers.
    pub const HTTP: u16 = 8080;
    /// Port of the UDP servers.
    pub const UDP: u16 = 5300;
    /// Where clients find them.
    pub const SERVERS: Servers = Servers {
        http: SocketAddr::new(IpAddr::V4(Network::VIP), 80),
        udp: SocketAddr::new(IpAddr::V4(Network::VIP), 53),
    };

    /// A site with so many backends.
    pub fn new(backends: u8) -> Self {
        let network = Network::new(Arms::Two, backends);
        Self {
            _http: Farm::http(&network, Self::HTTP),
            _udp: Farm::udp(&network, Self::UDP),
            network,
        }
    }

    /// A balancer of these services in front.
    pub fn start(&self, services: &str) -> Balancer<'_> {
        Balancer::start(&self.network.balancer, &self.network.interfaces, services)
    }
}

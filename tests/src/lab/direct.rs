//! Networks whose backends answer clients directly.

use super::{Network, topology::ROUTER6};

/// The router's IPv4 address beside the balancer host.
const ROUTER: &str = "10.2.0.254";

impl Network {
    /// Has the backends of a network with one arm answer by the router: gives them the VIPs, which they keep to
    /// themselves, and the router as their gateway.
    pub fn answer_directly(&self) {
        for host in &self.backends {
            host.sysctl("net.ipv4.conf.all.arp_ignore", "1");
            host.sysctl("net.ipv4.conf.all.arp_announce", "2");
            host.ip(&format!("address add {}/32 dev lo", Self::VIP));
            host.ip(&format!("address add {}/128 dev lo", Self::VIP6));
            host.ip(&format!("route replace default via {ROUTER}"));
            host.ip(&format!("-6 route replace default via {ROUTER6}"));
        }
    }

    /// Makes the link between client and router of a network with one arm too narrow for larger IP packets than of so many
    /// bytes. Neither end of a connection knows.
    pub fn narrow(&self, mtu: u32) {
        self.infrastructure[1].ip(&format!("link set eth0 mtu {mtu}"));
    }

    /// Has the router of a network with one arm tell nobody of packets that it drops.
    pub fn silence(&self) {
        let router = &self.infrastructure[1];
        // What it sends itself, and not what it forwards.
        router.ip("rule add iif lo to 192.0.2.0/24 blackhole");
        router.ip("-6 rule add iif lo to 2001:db8::/64 blackhole");
    }

    /// Lets IP packets of so many bytes pass between the balancer and the backends of a network with one arm.
    pub fn widen(&self, mtu: u32) {
        let switch = &self.infrastructure[0];
        let ports = (0..self.count()).map(|number| format!("backend{number}"));
        for port in ports.chain(["balancer".to_owned(), "bridge".to_owned()]) {
            switch.ip(&format!("link set {port} mtu {mtu}"));
        }
        for host in self.backends.iter().chain([&self.balancer]) {
            host.ip(&format!("link set eth0 mtu {mtu}"));
        }
    }
}

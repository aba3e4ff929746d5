//! The networks that tests run in. README.md of this crate draws them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Namespace, PassProgram, ping};

/// The router's IPv6 address beside the balancer host, where there is a router.
pub(super) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0xfe);

/// How the balancer is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arms {
    /// One interface for clients and backends.
    One,
    /// One interface for clients, one for backends.
    Two,
}

/// A client, a balancer host and backends.
pub struct Network {
    /// The client.
    pub client: Namespace,
    /// The balancer host.
    pub balancer: Namespace,
    /// The backends.
    pub backends: Vec<Namespace>,
    /// Interfaces of the balancer host, the clients' side first.
    pub interfaces: Vec<&'static str>,
    /// What the hosts hang on: the switch that backends are plugged into, then other routers. Dropped last.
    pub(super) infrastructure: Vec<Namespace>,
    _programs: Vec<PassProgram>,
}

impl Network {
    /// The IPv4 VIP, an address of the balancer host.
    pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    /// The IPv6 VIP, an address of the balancer host.
    pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
    /// The client's IPv4 address. The whole of 10.1.0.0/16 is the client's.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
    /// The client's IPv6 address. The whole of `fd00:1::/64` is the client's.
    pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);

    /// A network with `backends` backends.
    pub fn new(arms: Arms, backends: u8) -> Self {
        match arms {
            Arms::One => Self::one_arm(backends),
            Arms::Two => Self::two_arms(backends),
        }
    }

    /// One more client, at an interface `eth2` of its own of the balancer host: 10.3.0.2, with 10.3.0.1 on the other end.
    pub fn another_client(&self) -> Namespace {
        let client = Namespace::new("client2");
        client.connect("eth0", &self.balancer, "eth2");
        client.ip("address add 10.3.0.2/24 dev eth0");
        self.balancer.ip("address add 10.3.0.1/24 dev eth2");
        client.ip("route add default via 10.3.0.1");
        client
    }

    /// The switch that backends are plugged into. The balancer host is plugged into its port `balancer`.
    ///
    /// # Panics
    ///
    /// Never: every network has one.
    pub fn switch(&self) -> &Namespace {
        self.infrastructure.first().expect("backends are plugged into a switch")
    }

    /// Number of backends.
    ///
    /// # Panics
    ///
    /// Never: a network is made with a number that fits.
    pub fn count(&self) -> u8 {
        u8::try_from(self.backends.len()).expect("as many as the network was made with")
    }

    /// What a backend, counted from 0, is called in configurations and by its servers.
    pub fn backend_name(number: u8) -> String {
        format!("b{number}")
    }

    /// The IPv4 address of a backend, counted from 0.
    pub const fn backend(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 2, 0, 11 + number)
    }

    /// The IPv6 address of a backend, counted from 0.
    pub const fn backend6(number: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x11 + number as u16)
    }

    /// The address of a backend, counted from 0, of the same IP version as `peer`.
    pub const fn backend_of(peer: IpAddr, number: u8) -> IpAddr {
        match peer {
            IpAddr::V4(_) => IpAddr::V4(Self::backend(number)),
            IpAddr::V6(_) => IpAddr::V6(Self::backend6(number)),
        }
    }

    /// The client's address of the same IP version as `peer`.
    pub const fn client_of(peer: IpAddr) -> IpAddr {
        match peer {
            IpAddr::V4(_) => IpAddr::V4(Self::CLIENT),
            IpAddr::V6(_) => IpAddr::V6(Self::CLIENT6),
        }
    }

    fn two_arms(backends: u8) -> Self {
        let client = Namespace::new("client");
        let balancer = balancer_host();
        client.connect("eth0", &balancer, "eth0");
        address(&client, "eth0", "10.1.0.2/16", "fd00:1::2/64");
        address(&balancer, "eth0", "10.1.0.1/16", "fd00:1::1/64");
        let other_end = let_replies_out(&client, "eth0");
        client.ip("route add default via 10.1.0.1");
        client.ip("-6 route add default via fd00:1::1");

        let switch = switch();
        plug(&switch, "balancer", &balancer, "eth1");
        address(&balancer, "eth1", "10.2.0.1/24", "fd00:2::1/64");
        let backends = backend_hosts(&switch, backends, "10.2.0.1", "fd00:2::1");
        Self {
            client,
            balancer,
            backends,
            interfaces: vec!["eth0", "eth1"],
            infrastructure: vec![switch],
            _programs: vec![other_end],
        }
    }

    fn one_arm(backends: u8) -> Self {
        let client = Namespace::new("client");
        let router = Namespace::new("router");
        let balancer = balancer_host();
        client.connect("eth0", &router, "eth0");
        address(&client, "eth0", "10.1.0.2/16", "fd00:1::2/64");
        address(&router, "eth0", "10.1.0.1/16", "fd00:1::1/64");
        client.ip("route add default via 10.1.0.1");
        client.ip("-6 route add default via fd00:1::1");

        let switch = switch();
        plug(&switch, "router", &router, "eth1");
        address(&router, "eth1", "10.2.0.254/24", &format!("{ROUTER6}/64"));
        forward(&router);
        router.ip("route add 192.0.2.0/24 via 10.2.0.1");
        router.ip("-6 route add 2001:db8::/64 via fd00:2::1");
        plug(&switch, "balancer", &balancer, "eth0");
        address(&balancer, "eth0", "10.2.0.1/24", "fd00:2::1/64");
        let other_end = let_replies_out(&switch, "balancer");
        balancer.ip("route add default via 10.2.0.254");
        balancer.ip(&format!("-6 route add default via {ROUTER6}"));
        // A router asks for its neighbours from its link-local address, so the host does not learn the other one by
        // being asked. Hosts on duty have talked to their gateway before.
        ping(&balancer, ROUTER6.into()).expect("the router answers");
        let backends = backend_hosts(&switch, backends, "10.2.0.1", "fd00:2::1");
        Self {
            client,
            balancer,
            backends,
            interfaces: vec!["eth0"],
            infrastructure: vec![switch, router],
            _programs: vec![other_end],
        }
    }
}

/// A host that forwards and has the VIPs.
fn balancer_host() -> Namespace {
    let host = Namespace::new("balancer");
    forward(&host);
    host.ip("address add 192.0.2.10/32 dev lo");
    host.ip("address add 2001:db8::10/128 dev lo");
    host
}

fn forward(host: &Namespace) {
    host.sysctl("net.ipv4.ip_forward", "1");
    host.sysctl("net.ipv6.conf.all.forwarding", "1");
    // The router would tell the others to go to one another directly, past the balancer.
    host.sysctl("net.ipv4.conf.all.send_redirects", "0");
    host.sysctl("net.ipv4.conf.default.send_redirects", "0");
}

/// A namespace whose bridge is what hosts are plugged into.
fn switch() -> Namespace {
    let switch = Namespace::new("switch");
    switch.ip("link add bridge type bridge forward_delay 0");
    switch.ip("link set bridge up");
    switch
}

fn backend_hosts(switch: &Namespace, count: u8, gateway: &str, gateway6: &str) -> Vec<Namespace> {
    (0..count)
        .map(|number| {
            let host = Namespace::new(&format!("backend{number}"));
            plug(switch, &format!("backend{number}"), &host, "eth0");
            let v4 = format!("{}/24", Network::backend(number));
            let v6 = format!("{}/64", Network::backend6(number));
            address(&host, "eth0", &v4, &v6);
            host.ip(&format!("route add default via {gateway}"));
            host.ip(&format!("-6 route add default via {gateway6}"));
            host
        })
        .collect()
}

fn plug(switch: &Namespace, port: &str, host: &Namespace, interface: &str) {
    switch.connect(port, host, interface);
    switch.ip(&format!("link set {port} master bridge"));
}

impl Namespace {
    /// Lays a cable from a new interface of this host to a new one of another.
    pub fn connect(&self, interface: &str, other: &Self, other_interface: &str) {
        self.ip(&format!(
            "link add {interface} type veth peer name {other_interface} netns {}",
            other.name()
        ));
        for (host, interface) in [(self, interface), (other, other_interface)] {
            // A veth pair leaves checksums to be filled in by hardware that is not there, which an XDP program's updates
            // would build on. It takes frames from the XDP program of its peer only while it polls, as with GRO it does.
            host.run("ethtool", &format!("-K {interface} tx off gro on"));
            host.ip(&format!("link set {interface} up"));
        }
    }
}

/// Has frames that an XDP program on the other end of this cable sends back the way they came arrive at once. A veth pair
/// leaves them in a queue until something else passes, unless there is a program on this end too.
fn let_replies_out(host: &Namespace, interface: &str) -> PassProgram {
    host.pass(interface)
}

fn address(host: &Namespace, interface: &str, v4: &str, v6: &str) {
    host.ip(&format!("address add {v4} dev {interface}"));
    host.ip(&format!("address add {v6} dev {interface} nodad"));
}

//! The validated configuration: what the rest of the program works with.
//!
//! Every value here has been checked, so no consumer checks again: names are unique, ports and sizes are in range,
//! defaults are filled in.

mod health;
mod quic;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use self::{
    health::*,
    quic::{Quic, QuicLayout, ServerId},
};
use crate::maglev::TableSize;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The data plane.
    pub dataplane: Dataplane,
    /// The control socket and what is kept on disk.
    pub control: Control,
    /// The metrics endpoint.
    pub metrics: Metrics,
    /// Bounds of health checking.
    pub health: Probing,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
}

/// Where the data plane is pinned unless the configuration says otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/balancer";

/// How the XDP program is loaded and attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// Interfaces that it is attached to; at least one, without repetition.
    pub interfaces: Vec<String>,
    /// Where in the receive path it runs.
    pub xdp_mode: XdpMode,
    /// Directory on a BPF file system under which maps, links and programs are pinned.
    pub pin_path: PathBuf,
    /// Entries in the flow table.
    pub max_flows: u32,
    /// Entries in the client table.
    pub max_clients: u32,
    /// Services that there is room for.
    pub max_services: u32,
    /// Backends, over all services, that there is room for.
    pub max_backends: u32,
    /// Where packets to backends in a tunnel come from.
    pub tunnel_source: TunnelSource,
    /// Addresses that [`Forwarding::FullNat`] sends from, for services that name none; distinct.
    pub source_addresses: Vec<IpAddr>,
    /// The lowest and the highest port that [`Forwarding::FullNat`] sends from.
    pub source_ports: (u16, u16),
    /// Flows under [`Forwarding::FullNat`] that there is room for.
    pub max_mappings: u32,
}

/// The senders of packets that travel to backends in a tunnel. Where there is none, packets come from the address that
/// the host itself would send from, as the route to the backend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TunnelSource {
    /// To backends with an IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Addr>,
    /// To backends with an IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Addr>,
}

impl TunnelSource {
    /// The sender of packets to `backend`.
    pub fn toward(&self, backend: IpAddr) -> Option<IpAddr> {
        match backend {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// Where in the receive path an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver where it can, else on the socket buffer.
    Auto,
    /// In the driver, before a socket buffer is made.
    Native,
    /// On the socket buffer; every driver can, slower.
    Generic,
}

/// The control socket and what is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Directory for what was changed at run time.
    pub state: PathBuf,
}

/// The metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port to listen on.
    pub listen: SocketAddr,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// How packets reach a backend and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// Destination translated; replies come back through the balancer.
    Nat,
    /// Source and destination translated.
    FullNat,
    /// Only the link-layer address changes; the backend answers the client directly.
    Dsr,
    /// IP in IP (RFC 2003, RFC 2473); the backend answers directly.
    Ipip,
    /// Generic UDP encapsulation; the backend answers directly.
    Gue,
}

impl Forwarding {
    /// Whether packets travel to the backend in a tunnel.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether what backends answer comes back through the balancer.
    pub const fn replies_return(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether a backend may get packets at another port than the client sent them to.
    pub const fn translates_ports(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

/// Which part of a packet decides where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Affinity {
    /// The client's address and port.
    ClientIpPort,
    /// The client's address.
    ClientIp,
    /// The server identity in the QUIC connection ID.
    QuicCid,
}

/// How much of a client's address counts, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixLengths {
    /// Of an IPv4 address, 0 to 32.
    pub v4: u8,
    /// Of an IPv6 address, 0 to 128.
    pub v6: u8,
}

/// What sticky clients of a down backend get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhenDown {
    /// Another backend.
    Reassign,
    /// An immediate refusal.
    Reject,
    /// Nothing.
    Drop,
}

/// How a backend is chosen for what is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// By the Maglev table alone.
    Maglev,
    /// The emptier of two candidates.
    LeastFlows,
}

/// Which flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    /// Every flow.
    Full,
    /// Flows that a table change would move.
    Changes,
    /// None.
    None,
}

/// A service: a VIP with ports and the backends behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Ports, ascending and distinct; none means every port.
    pub ports: Vec<u16>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// How packets reach a backend.
    pub forwarding: Forwarding,
    /// Addresses that [`Forwarding::FullNat`] sends from, distinct; none means those of the data plane.
    pub source_addresses: Vec<IpAddr>,
    /// The most that either end of a TCP connection may ask to get in one segment, in bytes; `None` leaves it to them.
    pub mss: Option<u16>,
    /// What decides where a client goes.
    pub affinity: Affinity,
    /// How much of a client's address counts under [`Affinity::ClientIp`].
    pub affinity_prefix: PrefixLengths,
    /// How long an idle client or flow keeps its backend.
    pub affinity_timeout: Duration,
    /// What QUIC connection IDs are like.
    pub quic: Quic,
    /// What sticky clients of a down backend get.
    pub when_down: WhenDown,
    /// Slots of the Maglev table.
    pub maglev_size: TableSize,
    /// How a backend is chosen.
    pub selection: Selection,
    /// Which flows are remembered.
    pub tracking: Tracking,
    /// How long a backend that comes up takes to reach its full share of new clients.
    pub slow_start: Duration,
    /// With fewer than this share of backends up (0 to 1), health is ignored.
    pub panic_threshold: f64,
    /// Command for the first packet to a suspended backend; empty for none.
    pub wake: Vec<String>,
    /// The health check; `None` means that backends are always up.
    pub health: Option<HealthCheck>,
    /// Failures seen in live traffic.
    pub passive: Option<Passive>,
    /// How many flows may begin.
    pub limits: Option<Limits>,
    /// The backends, in the order of the file.
    pub backends: Vec<Backend>,
    /// Clients that share a key or are given a backend.
    pub pins: Vec<Pin>,
    /// Who may use the service. Shared, since there may be many prefixes and a configuration is copied for each change.
    pub sources: Option<Arc<Sources>>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name, unique in its service.
    pub name: String,
    /// Address, of the VIP's family unless the forwarding mode can cross families.
    pub address: IpAddr,
    /// Port; `None` keeps the client's destination port.
    pub port: Option<u16>,
    /// Share of new clients relative to the other backends; 0 takes none.
    pub weight: u32,
    /// Whether it serves only while no other backend can.
    pub backup: bool,
    /// What the operator wants of it.
    pub admin: Admin,
    /// What it calls itself in QUIC connection IDs; `None` if that follows from its address.
    pub server_id: Option<ServerId>,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// To serve.
    #[default]
    Active,
    /// To keep its flows and clients and get no new ones.
    Draining,
    /// To get nothing; its flows and clients go elsewhere.
    Disabled,
    /// To sleep: it keeps its flows and clients and gets no new ones, and its health does not count.
    Suspended,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Suspended => "suspended",
        })
    }
}

impl Backend {
    /// Its address as configurations and commands write it.
    pub fn endpoint(&self) -> String {
        address_text(self.address, self.port)
    }
}

/// A backend's address as configurations and commands write it, like `10.0.0.11:80`, `10.0.0.11` or
/// `[2001:db8::1]:80`; a backend without a name has it as its name.
pub fn address_text(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// Failures seen in live traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passive {
    /// Failures within `fail_timeout` that eject a backend.
    pub max_fails: u32,
    /// How long failures count, and how long the backend stays ejected.
    pub fail_timeout: Duration,
    /// The share of the service's backends, 0 to 1, that may be ejected at once.
    pub max_ejected: f64,
}

/// How many flows may begin; at least one of the two is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one client.
    pub new_flows_per_client: Option<Rate>,
    /// Of all clients together.
    pub new_flows: Option<Rate>,
    /// How much of an address tells clients apart.
    pub client_prefix: PrefixLengths,
}

/// A token bucket's rate and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Per second.
    pub rate: u32,
    /// At once.
    pub burst: u32,
}

/// Clients of one prefix that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The clients.
    pub prefix: ipnet::IpNet,
    /// What they share.
    pub target: PinTarget,
}

/// What pinned clients share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinTarget {
    /// A key that is hashed instead of the client's address.
    Key(String),
    /// A backend, by its name.
    Backend(String),
}

/// Who may use a service; the longest prefix wins. No prefix is in both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Clients that may.
    pub allow: Vec<ipnet::IpNet>,
    /// Clients that may not.
    pub deny: Vec<ipnet::IpNet>,
}

impl Sources {
    /// Whether clients may that no prefix covers: as long as nobody is named who may.
    pub const fn admits_others(&self) -> bool {
        self.allow.is_empty()
    }

    /// Prefixes in both lists.
    pub const fn len(&self) -> usize {
        self.allow.len() + self.deny.len()
    }

    /// Whether both lists are empty, which admits everybody.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

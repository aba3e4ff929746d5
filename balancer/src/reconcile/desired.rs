//! What the data plane should hold.

use balancer_common::abi::{Address, AffinityKind, BackendFlags, Forwarding, NextHop, Port};

use crate::maglev::TableSize;

/// Everything that the data plane should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The services; names are unique, and no two have an endpoint in common.
    pub services: Vec<DesiredService>,
}

/// A service that the data plane should serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its name, by which it is recognised from one state to the next.
    pub name: String,
    /// The VIP.
    pub vip: Address,
    /// Ports in network order; none means every port.
    pub ports: Vec<Port>,
    /// IP protocol number.
    pub protocol: u8,
    /// What decides where a new flow goes.
    pub affinity: AffinityKind,
    /// How packets get to the backends.
    pub forwarding: Forwarding,
    /// Slots of the Maglev table.
    pub table_size: TableSize,
    /// The backends; no two have the same address and port.
    pub backends: Vec<DesiredBackend>,
}

/// A backend that the data plane should know. It is recognised from one state to the next by its address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// Its port in network order; [`ANY_PORT`](balancer_common::abi::ANY_PORT) keeps the client's.
    pub port: Port,
    /// Where its packets leave the host.
    pub next_hop: NextHop,
    /// The sender of its packets, if they take a tunnel.
    pub tunnel_source: Address,
    /// Largest IP packet that fits on the way there, in bytes.
    pub mtu: u16,
    /// Its share of new clients relative to the other backends; 0 takes none.
    pub weight: u32,
    /// What it may be given, and what the data plane is to remember of it.
    pub flags: BackendFlags,
}

//! What the data plane should hold.

use std::sync::Arc;

use balancer_common::{
    abi::{
        Address, AffinityKind, BackendFlags, Forwarding, Limits, NextHop, Port, Selection, SourcePool, Tracking,
        WhenDown,
    },
    quic::ConnectionIds,
};

use crate::{config::Sources, maglev::TableSize};

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
    /// The bits of a client's address that count where the affinity is the client's.
    pub client_mask: Address,
    /// What QUIC connection IDs are like, under [`AffinityKind::QuicCid`].
    pub connection_ids: ConnectionIds,
    /// How long an idle flow or client keeps its backend, in units of [`Tick`](balancer_common::abi::Tick).
    pub timeout: u32,
    /// Which flows are remembered.
    pub tracking: Tracking,
    /// What the flows and clients of a backend that is down get.
    pub when_down: WhenDown,
    /// The largest MSS that a TCP connection may be begun with, in bytes; [`u16::MAX`] leaves them all.
    pub mss: u16,
    /// Clients that belong together; no two have the same prefix.
    pub pins: Vec<DesiredPin>,
    /// How many flows may begin.
    pub limits: Limits,
    /// Who may use it; everybody, if nothing is said.
    pub source_lists: Option<Arc<Sources>>,
    /// How packets get to the backends.
    pub forwarding: Forwarding,
    /// What new flows may have as their source; only under full NAT.
    pub sources: Option<Box<SourcePool>>,
    /// How a backend is chosen for what is not remembered.
    pub selection: Selection,
    /// Slots of the Maglev table.
    pub table_size: TableSize,
    /// Whether connections that the backends refuse or leave unanswered are counted.
    pub watches_failures: bool,
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
    /// Its share of the Maglev table's slots relative to the other backends; 0 has none. Others stand in for one that
    /// does not [take clients](Self::takes_clients).
    pub weight: u32,
    /// What it may be given, and what the data plane is to remember of it.
    pub flags: BackendFlags,
    /// What it is called in QUIC connection IDs, where they are looked at; no two backends of a service are called the same.
    pub server_id: Option<u64>,
}

impl DesiredBackend {
    /// Whether it takes new clients at present. Who does not keep those that it has takes no others.
    pub fn takes_clients(&self) -> bool {
        self.weight > 0 && self.flags.contains(BackendFlags::KEEPS_CLIENTS)
    }
}

/// Clients of a service that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPin {
    /// Their address, as far as they have it in common.
    pub client: Address,
    /// How many bits of the address in its 128-bit form that is.
    pub bits: u32,
    /// What they share.
    pub target: PinTarget,
}

/// What pinned clients share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinTarget {
    /// A hash of a key.
    Key([u8; 16]),
    /// A backend of the service, by its name.
    Backend(String),
}

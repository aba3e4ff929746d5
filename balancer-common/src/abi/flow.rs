//! What the data plane remembers of flows and clients.

use super::{Address, Port, Tick, halves, record};
use crate::affinity::Phase;

/// What a client's flow to a service is remembered by.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey {
    /// The client's address.
    pub client: Address,
    /// The service's index. It stands for VIP and protocol.
    pub service: u32,
    /// The client's port, network order.
    pub client_port: Port,
    /// The port of the VIP that the client talks to, network order.
    pub service_port: Port,
}
record!(
    FlowKey {
        client,
        service,
        client_port,
        service_port
    },
    24
);

impl FlowKey {
    /// Its bytes as they lie in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 3] {
        let [first, second] = self.client.words();
        let ports = halves(self.client_port, self.service_port) as u64;
        let third = if cfg!(target_endian = "little") {
            ports << 32 | self.service as u64
        } else {
            (self.service as u64) << 32 | ports
        };
        [first, second, third]
    }
}

/// Which backend something was given to.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// The backend's index.
    pub backend: u32,
    /// The [incarnation](super::Backend::incarnation) of the index that is meant.
    pub incarnation: u32,
}
record!(Owner { backend, incarnation }, 8);

/// Where a flow goes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The backend that has it.
    pub owner: Owner,
    /// When its last packet passed, give or take one unit.
    pub last_seen: Tick,
    /// How far it has come.
    pub phase: Phase,
    /// Always zero.
    pub _padding: u8,
    /// Always zero. Not one array of three with the above, which the compiler for BPF would fill by a call.
    pub _reserved: u16,
}
record!(
    Flow {
        owner,
        last_seen,
        phase,
        _padding,
        _reserved
    },
    16
);

/// A flow that is remembered, or room for one: then its owner is [vacant](crate::flow_table::VACANT), and its key is zero, which no
/// flow has.
///
/// Whoever wants to write to it first puts [`CLAIMED`](crate::flow_table::CLAIMED) in the place of the owner, and the new owner
/// last, each by one access to a word of 64 bits.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowEntry {
    /// Which flow.
    pub key: FlowKey,
    /// Where it goes.
    pub flow: Flow,
}
record!(FlowEntry { key, flow }, 40);

/// Flows that stand together in the flow table: two cache lines.
#[repr(C, align(128))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowBucket {
    /// The flows.
    pub entries: [FlowEntry; Self::ENTRIES],
    /// Always zero.
    pub _padding: [u8; 8],
}
record!(FlowBucket { entries, _padding }, 128);

impl FlowBucket {
    /// Flows in a bucket.
    pub const ENTRIES: usize = 3;
}

/// What a client of a service is remembered by.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientKey {
    /// The client's address under the service's [mask](super::Service::client_mask), or the key that it is
    /// [pinned](super::Pin) to.
    pub client: Address,
    /// 1 for the key of a pin, 0 for an address.
    pub pinned: u32,
    /// The service's index.
    pub service: u32,
}
record!(
    ClientKey {
        client,
        pinned,
        service
    },
    24
);

/// Where a client's new flows go.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The backend that has it.
    pub owner: Owner,
    /// When a packet of its flows last passed, give or take a second.
    pub last_seen: Tick,
    /// Always zero.
    pub _padding: u32,
}
record!(
    Client {
        owner,
        last_seen,
        _padding
    },
    16
);

/// What a reply is recognised by where the backend's address and port do not tell which service port it belongs to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReverseKey {
    /// The reply's destination: the client.
    pub client: Address,
    /// The reply's source: the backend.
    pub backend: Address,
    /// The client's port, network order.
    pub client_port: Port,
    /// The backend's port, network order.
    pub backend_port: Port,
    /// The IP protocol number.
    pub protocol: u32,
}
record!(
    ReverseKey {
        client,
        backend,
        client_port,
        backend_port,
        protocol
    },
    40
);

/// The service port that a reply came from.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReverseFlow {
    /// The service's index.
    pub service: u32,
    /// The index of its backend.
    pub backend: u32,
    /// The port of the VIP, network order.
    pub service_port: Port,
    /// Always zero.
    pub _padding: [u8; 2],
}
record!(
    ReverseFlow {
        service,
        backend,
        service_port,
        _padding
    },
    12
);

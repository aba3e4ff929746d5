//! Routes to clients that a CPU has looked up.

use super::{Address, NextHop, record};

/// What the host's routing said of a destination, kept in a cache of each CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where the packets go.
    pub destination: Address,
    /// Where they come from: routing may depend on it.
    pub source: Address,
    /// Where they leave the host.
    pub next_hop: NextHop,
    /// The number that the daemon had given to the state of routes and neighbours when this was looked up. It changes
    /// the number whenever that state changes, and the entry is looked up anew.
    pub epoch: u32,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u32,
    /// The interface that the packets came in by: routing may depend on it too.
    pub ingress: u32,
    /// The IP protocol number of the packets: routing may depend on it too.
    pub protocol: u32,
}
record!(
    Route {
        destination,
        source,
        next_hop,
        epoch,
        mtu,
        ingress,
        protocol
    },
    64
);

/// Entries of each CPU's route cache.
pub const ROUTE_CACHE: u32 = 4_096;

/// A neighbour whose link-layer address a CPU needed and the kernel did not know: the daemon has it resolved.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NeighborRequest {
    /// The neighbour.
    pub address: Address,
    /// Index of the interface that it is on.
    pub interface: u32,
    /// Always zero.
    pub _padding: u32,
}
record!(
    NeighborRequest {
        address,
        interface,
        _padding
    },
    24
);

impl NeighborRequest {
    /// Reads a record as it comes out of the buffer; `None` if `bytes` are not as many as it has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&address, rest) = bytes.split_first_chunk::<16>()?;
        let (&interface, rest) = rest.split_first_chunk::<4>()?;
        (rest.len() == 4).then(|| Self {
            address: Address::v6(address),
            interface: u32::from_ne_bytes(interface),
            _padding: 0,
        })
    }
}

//! What the data plane remembers of flows.

use super::{Address, Port, record};

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

/// Where a flow goes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The backend's index.
    pub backend: u32,
    /// The [incarnation](super::Backend::incarnation) of the index that is meant.
    pub incarnation: u32,
}
record!(Flow { backend, incarnation }, 8);

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
    /// The port of the VIP, network order.
    pub service_port: Port,
    /// Always zero.
    pub _padding: [u8; 2],
}
record!(
    ReverseFlow {
        service,
        service_port,
        _padding
    },
    8
);

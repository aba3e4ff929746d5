//! Remembered flows.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Which flows are meant: those to which all of this applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowFilter {
    /// The service's name.
    pub service: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's port.
    pub port: Option<u16>,
    /// The backend's name or address.
    pub backend: Option<String>,
}

/// Some flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    /// The first of them.
    pub flows: Vec<FlowView>,
    /// How many there are.
    pub total: u64,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowView {
    /// The service's name.
    pub service: String,
    /// The client.
    pub client: SocketAddr,
    /// The address and port that the client talks to.
    pub vip: SocketAddr,
    /// The name of the backend that is remembered; `None` if it is gone.
    pub backend: Option<String>,
}

/// How many flows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// All of them.
    pub flows: u64,
    /// Those of each backend that has any.
    pub backends: Vec<FlowCountView>,
}

/// How many flows a backend has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCountView {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub name: String,
    /// Remembered flows.
    pub flows: u64,
}

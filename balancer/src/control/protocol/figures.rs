//! Everything that is counted, at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackendView, ServiceView, Status};

/// The figures of one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The daemon and its data plane.
    pub status: Status,
    /// The services.
    pub services: Vec<ServiceView>,
    /// The backends of all services.
    pub backends: Vec<BackendView>,
    /// Dropped packets by reason, of the reasons that there have been.
    pub drops: BTreeMap<String, u64>,
    /// Flows that were forgotten to make room for others.
    pub evictions: u64,
}

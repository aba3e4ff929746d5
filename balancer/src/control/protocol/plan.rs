//! What applying a file would change.

use serde::{Deserialize, Serialize};

/// What applying a file would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Names of services that would be added.
    pub services_added: Vec<String>,
    /// Names of services that would be removed.
    pub services_removed: Vec<String>,
    /// Names of services that would get other settings or other backends.
    pub services_changed: Vec<String>,
    /// Backends that would be added.
    pub backends_added: Vec<BackendName>,
    /// Backends that would be removed.
    pub backends_removed: Vec<BackendName>,
    /// The share of new clients, 0 to 1, over the slots of all services, that would get another backend or none.
    pub clients_moved: f64,
    /// Live flows that would lose their backend.
    pub flows_moved: u64,
    /// Live flows, those that would lose their backend included.
    pub flows: u64,
    /// Remembered clients whose backend would not keep them.
    pub known_clients_moved: u64,
    /// Remembered clients, those included.
    pub known_clients: u64,
    /// Every change, as people call it.
    pub changes: Vec<String>,
    /// What becomes of the clients of each service that is there now and would change.
    pub services: Vec<PlannedService>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendName {
    /// The service's name.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its address, with its port if it has one of its own.
    pub address: String,
}

/// What becomes of the clients of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedService {
    /// The service's name.
    pub service: String,
    /// Slots of its Maglev table as it is now.
    pub slots: u32,
    /// Those of them that would change hands.
    pub slots_moved: u64,
    /// The share of its new clients, 0 to 1, that would get another backend or none.
    pub clients_moved: f64,
    /// Its live flows that would lose their backend.
    pub flows_moved: u64,
    /// Its live flows, those that would lose their backend included.
    pub flows: u64,
    /// Its remembered clients whose backend would not keep them.
    pub known_clients_moved: u64,
    /// Its remembered clients, those included.
    pub known_clients: u64,
}

impl Plan {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

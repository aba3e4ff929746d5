//! What an operator orders at run time, and what comes of it.

use serde::{Deserialize, Serialize};

use crate::config::Admin;

/// A change at run time. Backends are called by their name, or by their address with or without port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum Order {
    /// To add a service.
    AddService {
        /// Its name.
        name: String,
        /// Its `[[service]]` table as in a configuration file.
        text: String,
    },
    /// To remove a service.
    RemoveService {
        /// Its name.
        service: String,
    },
    /// To add a backend to a service.
    AddBackend {
        /// The service's name.
        service: String,
        /// Address of the backend, as in the configuration.
        address: String,
        /// The backend's keys that are not to have their defaults.
        #[serde(flatten)]
        keys: BackendKeys,
    },
    /// To remove a backend.
    RemoveBackend {
        /// The service's name.
        service: String,
        /// The backend.
        backend: String,
    },
    /// To drain, disable, suspend or activate a backend.
    SetAdmin {
        /// The service's name.
        service: String,
        /// The backend.
        backend: String,
        /// What is wanted of it.
        admin: Admin,
    },
    /// To give a backend another weight.
    SetWeight {
        /// The service's name.
        service: String,
        /// The backend.
        backend: String,
        /// The weight.
        weight: u32,
    },
    /// To let the clients of one backend belong to another.
    Migrate {
        /// The service's name.
        service: String,
        /// Whose clients.
        from: String,
        /// Whose they are to be.
        to: String,
        /// Whether TCP connections that are open move as well.
        flows: bool,
    },
}

/// Keys of a backend in the configuration, of which each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendKeys {
    /// Its name.
    pub name: Option<String>,
    /// Its weight.
    pub weight: Option<u32>,
    /// Whether it serves only while no other backend can.
    pub backup: Option<bool>,
    /// What it calls itself in QUIC connection IDs, in hexadecimal.
    pub server_id: Option<String>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done and what follows from it, in lines for people.
    pub message: String,
    /// What is valid but hardly meant.
    pub warnings: Vec<String>,
}

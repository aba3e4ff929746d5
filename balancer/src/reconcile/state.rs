//! What the data plane holds.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
};

use balancer_common::abi::{
    Access, Address, Backend, ClientPrefix, EndpointKey, Pin, Port, Selection, Service, SourcePool,
};

use crate::maglev::{Candidate, TableSize};

/// A mirror of the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Services by index.
    pub services: BTreeMap<u32, ServiceEntry>,
    /// Backends by index.
    pub backends: BTreeMap<u32, BackendEntry>,
    /// The last incarnation of backend indices that are free now.
    pub vacated: HashMap<u32, u32>,
    /// Endpoints with their targets.
    pub endpoints: HashMap<EndpointKey, u32>,
    /// What clients are pinned to.
    pub pins: HashMap<PrefixKey, Pin>,
    /// Who may use services that have source lists.
    pub access: BTreeMap<PrefixKey, Access>,
    /// What the published table of each service was made from, where that is known.
    pub tables: HashMap<u32, Table>,
    /// What new flows under full NAT may have as their source, by service index.
    pub sources: BTreeMap<u32, SourcePool>,
    /// Where services and backends are.
    pub index: Index,
}

/// A service as the maps hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// Its record; `None` while only the index has been claimed.
    pub record: Option<Service>,
}

/// A backend as the maps hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendEntry {
    /// Its name.
    pub name: String,
    /// Its record.
    pub record: Backend,
}

/// What a service's Maglev table is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Slots.
    pub size: TableSize,
    /// The backends that have slots, in the order of their indices.
    pub candidates: Vec<Candidate>,
    /// For a service that remembers only what a change moves: the backends that may still have flows, ascending.
    pub handover: Option<Vec<u32>>,
    /// What else counts when a new flow is given a backend.
    pub selection: Selection,
}

/// What is found by the longest prefix of a service's client. In order, a prefix comes before those that it covers, and these
/// before any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixKey {
    /// The prefix; bits beyond its length are zero.
    pub prefix: ClientPrefix,
    /// How many bits of it count.
    pub bits: u32,
}

/// One change of the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Names a service index and sets its counters to zero.
    ClaimService {
        /// The index.
        index: u32,
        /// The service's name.
        name: String,
    },
    /// Writes a service's record.
    WriteService {
        /// The index.
        index: u32,
        /// The record.
        record: Service,
    },
    /// Says what new flows of a service may have as their source.
    WriteSources {
        /// The service's index.
        index: u32,
        /// Addresses and ports.
        pool: Box<SourcePool>,
    },
    /// Removes what new flows of a service may have as their source.
    RemoveSources {
        /// The service's index.
        index: u32,
    },
    /// Frees a service index, its table included.
    ReleaseService {
        /// The index.
        index: u32,
    },
    /// Names a backend index and sets its counters to zero.
    ClaimBackend {
        /// The index.
        index: u32,
        /// The backend's name.
        name: String,
    },
    /// Gives a backend another name.
    RenameBackend {
        /// The index.
        index: u32,
        /// The new name.
        name: String,
    },
    /// Writes a backend's record.
    WriteBackend {
        /// The index.
        index: u32,
        /// The record.
        record: Backend,
    },
    /// Frees a backend index; flows that remember it are reassigned.
    ReleaseBackend {
        /// The index.
        index: u32,
    },
    /// Points an endpoint to a service or backend.
    Bind {
        /// The endpoint.
        key: EndpointKey,
        /// The service or backend index.
        target: u32,
    },
    /// Removes an endpoint.
    Unbind {
        /// The endpoint.
        key: EndpointKey,
    },
    /// Pins the clients of a prefix.
    WritePin {
        /// The prefix.
        key: PrefixKey,
        /// What they share.
        pin: Pin,
    },
    /// Lets the clients of a prefix go.
    RemovePin {
        /// The prefix.
        key: PrefixKey,
    },
    /// Says who may use services.
    WriteAccess {
        /// What is said of prefixes. The order does not matter.
        entries: Vec<(PrefixKey, Access)>,
    },
    /// Says nothing of some prefixes any more.
    RemoveAccess {
        /// The prefixes. The order does not matter.
        keys: Vec<PrefixKey>,
    },
    /// Waits until no packet is processed any more with what was there before.
    Settle,
    /// Builds and publishes Maglev tables, each whole.
    PublishTables {
        /// The tables by service index.
        tables: Vec<(u32, Table)>,
    },
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimService { name, .. } => write!(f, "add service {name}"),
            Self::WriteService { index, .. } => write!(f, "write service {index}"),
            Self::WriteSources { index, .. } => write!(f, "write the source addresses of service {index}"),
            Self::RemoveSources { index } => write!(f, "remove the source addresses of service {index}"),
            Self::ReleaseService { index } => write!(f, "remove service {index}"),
            Self::ClaimBackend { name, .. } => write!(f, "add backend {name}"),
            Self::RenameBackend { name, .. } => write!(f, "name backend {name}"),
            Self::WriteBackend { index, .. } => write!(f, "write backend {index}"),
            Self::ReleaseBackend { index } => write!(f, "remove backend {index}"),
            Self::Bind { key, .. } => write!(f, "bind {:?} port {}", key.address, u16::from_be_bytes(key.port())),
            Self::Unbind { key } => write!(f, "unbind {:?} port {}", key.address, u16::from_be_bytes(key.port())),
            Self::WritePin { .. } => f.write_str("pin clients"),
            Self::RemovePin { .. } => f.write_str("unpin clients"),
            Self::WriteAccess { entries } => write!(f, "write {} prefixes of source lists", entries.len()),
            Self::RemoveAccess { keys } => write!(f, "remove {} prefixes of source lists", keys.len()),
            Self::Settle => f.write_str("wait for packets"),
            Self::PublishTables { tables } => write!(f, "publish {} Maglev tables", tables.len()),
        }
    }
}

/// What a backend is recognised by: its service's index, its address and its port.
pub type BackendIdentity = (u32, Address, Port);

/// Services by name and backends by identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Indices of services.
    pub services: HashMap<String, u32>,
    /// Indices of backends.
    pub backends: HashMap<BackendIdentity, u32>,
}

impl Index {
    /// Where these services and backends are.
    pub fn of(services: &BTreeMap<u32, ServiceEntry>, backends: &BTreeMap<u32, BackendEntry>) -> Self {
        let services = services.iter().map(|(&index, service)| (service.name.clone(), index));
        let backends = backends
            .iter()
            .map(|(&index, backend)| (identity(&backend.record), index));
        Self {
            services: services.collect(),
            backends: backends.collect(),
        }
    }

    /// A backend is no longer where it was, unless another has taken its place.
    fn forget(&mut self, record: &Backend, index: u32) {
        if let Entry::Occupied(entry) = self.backends.entry(identity(record))
            && *entry.get() == index
        {
            entry.remove();
        }
    }
}

const fn identity(record: &Backend) -> BackendIdentity {
    (record.service, record.address, record.port)
}

impl State {
    /// Follows an operation that the data plane has carried out.
    pub fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::ClaimService { index, name } => {
                self.index.services.insert(name.clone(), index);
                self.services.insert(index, ServiceEntry { name, record: None });
            }
            Operation::WriteService { index, record } => {
                if let Some(service) = self.services.get_mut(&index) {
                    service.record = Some(record);
                }
            }
            Operation::WriteSources { index, pool } => {
                self.sources.insert(index, *pool);
            }
            Operation::RemoveSources { index } => {
                self.sources.remove(&index);
            }
            Operation::ReleaseService { index } => {
                if let Some(service) = self.services.remove(&index) {
                    self.index.services.remove(&service.name);
                }
                self.tables.remove(&index);
            }
            Operation::ClaimBackend { index, name } => {
                let record = Backend {
                    incarnation: self.vacated.remove(&index).unwrap_or(0),
                    ..Backend::VACANT
                };
                self.backends.insert(index, BackendEntry { name, record });
            }
            Operation::RenameBackend { index, name } => {
                if let Some(backend) = self.backends.get_mut(&index) {
                    backend.name = name;
                }
            }
            Operation::WriteBackend { index, record } => {
                if let Some(backend) = self.backends.get_mut(&index) {
                    self.index.forget(&backend.record, index);
                    self.index.backends.insert(identity(&record), index);
                    backend.record = record;
                }
            }
            Operation::ReleaseBackend { index } => {
                if let Some(backend) = self.backends.remove(&index) {
                    self.index.forget(&backend.record, index);
                    self.vacated.insert(index, backend.record.incarnation);
                }
            }
            Operation::Bind { key, target } => {
                self.endpoints.insert(key, target);
            }
            Operation::Unbind { key } => {
                self.endpoints.remove(&key);
            }
            Operation::WritePin { key, pin } => {
                self.pins.insert(key, pin);
            }
            Operation::RemovePin { key } => {
                self.pins.remove(&key);
            }
            Operation::WriteAccess { entries } => self.access.extend(entries),
            Operation::RemoveAccess { keys } => {
                for key in keys {
                    self.access.remove(&key);
                }
            }
            Operation::Settle => {}
            Operation::PublishTables { tables } => self.tables.extend(tables),
        }
    }
}

//! Single changes of a configuration.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::config::{Admin, Backend, Config, ServerId, Service, address_text};

/// What a backend is recognised by within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` keeps the client's destination port.
    pub port: Option<u16>,
}

impl From<&Backend> for Endpoint {
    fn from(backend: &Backend) -> Self {
        Self {
            address: backend.address,
            port: backend.port,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address_text(self.address, self.port))
    }
}

/// A change of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The program is attached to these interfaces and no others.
    SetInterfaces(Vec<String>),
    /// A service is added, its backends with it.
    AddService(Box<Service>),
    /// A service is removed.
    RemoveService(String),
    /// A service gets the settings of this one, which is without backends; its own stay.
    Configure(Box<Service>),
    /// A backend is added.
    AddBackend {
        /// The service's name.
        service: String,
        /// The backend.
        backend: Backend,
    },
    /// A backend is removed.
    RemoveBackend {
        /// The service's name.
        service: String,
        /// The backend.
        backend: Endpoint,
    },
    /// A backend gets another value for one of its keys.
    ModifyBackend {
        /// The service's name.
        service: String,
        /// The backend.
        backend: Endpoint,
        /// The key and its value.
        modification: Modification,
    },
}

/// A key of a backend and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modification {
    /// Its name.
    Name(String),
    /// Its weight.
    Weight(u32),
    /// Whether it serves only while no other can.
    Backup(bool),
    /// What the operator wants of it.
    Admin(Admin),
    /// What it calls itself in QUIC connection IDs.
    ServerId(Option<ServerId>),
}

/// What a change is about is missing, or what it adds is there already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// There is no such service.
    #[error("there is no service {0}")]
    NoService(String),
    /// There is no such backend.
    #[error("{0} has no backend {1}")]
    NoBackend(String, Endpoint),
    /// There is such a service.
    #[error("there is a service {0} already")]
    ServiceExists(String),
    /// There is such a backend.
    #[error("{0} has a backend {1} already")]
    BackendExists(String, Endpoint),
}

impl Change {
    /// Changes `config`. Whether the result is valid as a whole is not looked at.
    pub fn apply(&self, config: &mut Config) -> Result<(), Impossible> {
        match self {
            Self::SetInterfaces(interfaces) => config.dataplane.interfaces.clone_from(interfaces),
            Self::AddService(service) => {
                if find_service(config, &service.name).is_ok() {
                    return Err(Impossible::ServiceExists(service.name.clone()));
                }
                config.services.push((**service).clone());
            }
            Self::RemoveService(name) => {
                find_service(config, name)?;
                config.services.retain(|service| service.name != *name);
            }
            Self::Configure(settings) => {
                let service = find_service(config, &settings.name)?;
                let backends = std::mem::take(&mut service.backends);
                *service = Service {
                    backends,
                    ..(**settings).clone()
                };
            }
            Self::AddBackend { service, backend } => {
                let service = find_service(config, service)?;
                let endpoint = Endpoint::from(backend);
                if find_backend(service, endpoint).is_ok() {
                    return Err(Impossible::BackendExists(service.name.clone(), endpoint));
                }
                service.backends.push(backend.clone());
            }
            Self::RemoveBackend { service, backend } => {
                let service = find_service(config, service)?;
                find_backend(service, *backend)?;
                service.backends.retain(|other| Endpoint::from(other) != *backend);
            }
            Self::ModifyBackend {
                service,
                backend,
                modification,
            } => {
                let backend = find_backend(find_service(config, service)?, *backend)?;
                match modification {
                    Modification::Name(name) => backend.name.clone_from(name),
                    Modification::Weight(weight) => backend.weight = *weight,
                    Modification::Backup(backup) => backend.backup = *backup,
                    Modification::Admin(admin) => backend.admin = *admin,
                    Modification::ServerId(id) => backend.server_id.clone_from(id),
                }
            }
        }
        Ok(())
    }

    /// What the change is about, from the whole to the part.
    fn path(&self) -> Vec<String> {
        match self {
            Self::SetInterfaces(_) => vec!["dataplane".to_owned(), "interfaces".to_owned()],
            Self::AddService(service) => path(&service.name, &[]),
            Self::RemoveService(name) => path(name, &[]),
            Self::Configure(settings) => path(&settings.name, &["settings"]),
            Self::AddBackend { service, backend } => path(service, &[&Endpoint::from(backend).to_string()]),
            Self::RemoveBackend { service, backend } => path(service, &[&backend.to_string()]),
            Self::ModifyBackend {
                service,
                backend,
                modification,
            } => path(service, &[&backend.to_string(), modification.key()]),
        }
    }

    /// Whether both are about the same thing, or one about a part of what the other is about.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (own, others) = (self.path(), other.path());
        own.iter().zip(&others).all(|(own, other)| own == other)
    }
}

impl Modification {
    const fn key(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Weight(_) => "weight",
            Self::Backup(_) => "backup",
            Self::Admin(_) => "admin",
            Self::ServerId(_) => "server_id",
        }
    }
}

fn path(service: &str, parts: &[&str]) -> Vec<String> {
    let whole = ["service", service];
    whole.iter().chain(parts).map(|&part| part.to_owned()).collect()
}

fn find_service<'c>(config: &'c mut Config, name: &str) -> Result<&'c mut Service, Impossible> {
    let mut services = config.services.iter_mut();
    services
        .find(|service| service.name == name)
        .ok_or_else(|| Impossible::NoService(name.to_owned()))
}

fn find_backend(service: &mut Service, endpoint: Endpoint) -> Result<&mut Backend, Impossible> {
    let mut backends = service.backends.iter_mut();
    backends
        .find(|backend| Endpoint::from(&**backend) == endpoint)
        .ok_or_else(|| Impossible::NoBackend(service.name.clone(), endpoint))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetInterfaces(interfaces) => write!(f, "interfaces = {}", interfaces.join(", ")),
            Self::AddService(service) => write!(f, "{}: added", service.name),
            Self::RemoveService(name) => write!(f, "{name}: removed"),
            Self::Configure(settings) => write!(f, "{}: other settings", settings.name),
            Self::AddBackend { service, backend } => {
                write!(f, "{service}: backend {} added", Endpoint::from(backend))
            }
            Self::RemoveBackend { service, backend } => write!(f, "{service}: backend {backend} removed"),
            Self::ModifyBackend {
                service,
                backend,
                modification,
            } => write!(f, "{service}: backend {backend}: {modification}"),
        }
    }
}

impl fmt::Display for Modification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        match self {
            Self::Name(name) => write!(f, "{key} = {name}"),
            Self::Weight(weight) => write!(f, "{key} = {weight}"),
            Self::Backup(backup) => write!(f, "{key} = {backup}"),
            Self::Admin(admin) => write!(f, "{key} = {admin}"),
            Self::ServerId(Some(id)) => write!(f, "{key} = {id}"),
            Self::ServerId(None) => write!(f, "no {key}"),
        }
    }
}

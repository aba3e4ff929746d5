//! The difference between two configurations.

use std::collections::HashMap;

use super::change::{Change, Endpoint, Modification};
use crate::config::{Backend, Config, Service};

/// The changes that turn `from` into `to`, but for the order of services and backends. What stays the same for as long as
/// a daemon runs (paths, addresses, sizes) is not among them.
pub fn changes(from: &Config, to: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    if from.dataplane.interfaces != to.dataplane.interfaces {
        changes.push(Change::SetInterfaces(to.dataplane.interfaces.clone()));
    }
    let before = by_name(&from.services);
    let after = by_name(&to.services);
    for service in &from.services {
        match after.get(service.name.as_str()) {
            None => changes.push(Change::RemoveService(service.name.clone())),
            Some(other) => changes.extend(service_changes(service, other)),
        }
    }
    for service in &to.services {
        if !before.contains_key(service.name.as_str()) {
            changes.push(Change::AddService(Box::new(service.clone())));
        }
    }
    changes
}

fn service_changes(from: &Service, to: &Service) -> Vec<Change> {
    if from == to {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let settings = without_backends(to);
    if without_backends(from) != settings {
        changes.push(Change::Configure(Box::new(settings)));
    }
    let service = || to.name.clone();
    let before = by_endpoint(&from.backends);
    let after = by_endpoint(&to.backends);
    for backend in &from.backends {
        let endpoint = Endpoint::from(backend);
        match after.get(&endpoint) {
            None => changes.push(Change::RemoveBackend {
                service: service(),
                backend: endpoint,
            }),
            Some(other) => {
                let modifications = modifications(backend, other).into_iter();
                changes.extend(modifications.map(|modification| Change::ModifyBackend {
                    service: service(),
                    backend: endpoint,
                    modification,
                }));
            }
        }
    }
    for backend in &to.backends {
        if !before.contains_key(&Endpoint::from(backend)) {
            changes.push(Change::AddBackend {
                service: service(),
                backend: backend.clone(),
            });
        }
    }
    changes
}

/// Takes the backend apart whole, so that a key added to the model cannot be forgotten here.
fn modifications(from: &Backend, to: &Backend) -> Vec<Modification> {
    let Backend {
        name,
        address: _,
        port: _,
        weight,
        backup,
        admin,
        server_id,
    } = to;
    [
        (from.name != *name).then(|| Modification::Name(name.clone())),
        (from.weight != *weight).then_some(Modification::Weight(*weight)),
        (from.backup != *backup).then_some(Modification::Backup(*backup)),
        (from.admin != *admin).then_some(Modification::Admin(*admin)),
        (from.server_id != *server_id).then(|| Modification::ServerId(server_id.clone())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn without_backends(service: &Service) -> Service {
    Service {
        backends: Vec::new(),
        ..service.clone()
    }
}

fn by_name(services: &[Service]) -> HashMap<&str, &Service> {
    services
        .iter()
        .map(|service| (service.name.as_str(), service))
        .collect()
}

fn by_endpoint(backends: &[Backend]) -> HashMap<Endpoint, &Backend> {
    backends
        .iter()
        .map(|backend| (Endpoint::from(backend), backend))
        .collect()
}

//! Orders about services.

use super::{
    super::resolve::{self, usage},
    Action, Step,
};
use crate::{
    config::{self, Config, Service},
    control::protocol::Refusal,
    intent::{Change, Endpoint, Intent},
    wording::counted,
};

pub(super) fn add(intent: &Intent, name: &str, text: &str) -> Result<Step, Refusal> {
    let existing = resolve::service(&intent.running, name).ok();
    let others = Config {
        services: intent
            .running
            .services
            .iter()
            .filter(|service| service.name != name)
            .cloned()
            .collect(),
        ..intent.running.clone()
    };
    let service = config::parse_service(text, &others)
        .map_err(|error| usage(error.without_places()))?
        .ok_or_else(|| usage("the order holds no service".to_owned()))?;
    let (change, said) = match existing {
        None => {
            let said = format!("added with {}", backends(&service));
            (Some(Change::AddService(Box::new(service))), said)
        }
        Some(existing) if includes(existing, &service) => (None, "is there already".to_owned()),
        Some(_) => {
            return Err(usage(format!(
                "there is a service {name} already, with other settings or backends: remove it first, or write what you \
                 want into a file and apply that"
            )));
        }
    };
    Ok(step(name, change, said))
}

pub(super) fn remove(intent: &Intent, name: &str) -> Result<Step, Refusal> {
    match resolve::service(&intent.running, name) {
        Ok(service) => {
            let said = format!("removed with {}", backends(service));
            Ok(step(name, Some(Change::RemoveService(name.to_owned())), said))
        }
        // What the file has and the running configuration lacks was removed before.
        Err(refusal) => {
            resolve::service(&intent.file, name).ok().ok_or(refusal)?;
            Ok(step(name, None, "is removed already".to_owned()))
        }
    }
}

fn step(service: &str, change: Option<Change>, said: String) -> Step {
    Step {
        service: service.to_owned(),
        backend: None,
        action: change.map(Action::Change),
        said,
    }
}

fn backends(service: &Service) -> String {
    counted(service.backends.len() as u64, "backend", "backends")
}

/// Whether `existing` has the settings of `wanted`, and its backends among others.
fn includes(existing: &Service, wanted: &Service) -> bool {
    let settings = Service {
        backends: existing.backends.clone(),
        ..wanted.clone()
    };
    let has = |endpoint| {
        existing
            .backends
            .iter()
            .any(|backend| Endpoint::from(backend) == endpoint)
    };
    settings == *existing && wanted.backends.iter().all(|backend| has(backend.into()))
}

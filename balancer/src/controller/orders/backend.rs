//! Orders about backends.

use super::{
    super::resolve::{self, shown, usage},
    Action, Step,
};
use crate::{
    config::{self, Admin, Backend, ServerId},
    control::protocol::{BackendKeys, Refusal},
    intent::{Change, Endpoint, Intent, Migration, Modification},
};

pub(super) fn add(intent: &Intent, service: &str, address: &str, keys: &BackendKeys) -> Result<Step, Refusal> {
    let known = resolve::service(&intent.running, service)?;
    let (ip, port) = config::backend_address(address).map_err(|why| usage(format!("{address} {why}")))?;
    let backend = Backend {
        name: keys.name.clone().unwrap_or_else(|| config::address_text(ip, port)),
        address: ip,
        port,
        weight: keys.weight.unwrap_or(config::DEFAULT_WEIGHT),
        backup: keys.backup.unwrap_or(false),
        admin: Admin::Active,
        server_id: server_id(keys.server_id.as_deref())?,
    };
    let endpoint = Endpoint::from(&backend);
    let existing = known.backends.iter().find(|other| Endpoint::from(*other) == endpoint);
    let (change, said) = match existing {
        None => {
            let said = format!("added {}", shown(&backend));
            let service = known.name.clone();
            (Some(Change::AddBackend { service, backend }), said)
        }
        Some(existing) if keys.agree_with(existing) => (None, format!("{} is there already", shown(existing))),
        Some(existing) => {
            return Err(usage(format!(
                "{service} has {} already, with weight = {} and backup = {}: change or remove that one",
                shown(existing),
                existing.weight,
                existing.backup
            )));
        }
    };
    Ok(Step {
        service: service.to_owned(),
        backend: Some(endpoint),
        action: change.map(Action::Change),
        said,
    })
}

fn server_id(text: Option<&str>) -> Result<Option<ServerId>, Refusal> {
    let id = text.map(|text| config::server_id(text).map_err(|why| usage(format!("server ID {text} {why}"))));
    id.transpose()
}

pub(super) fn remove(intent: &Intent, service: &str, text: &str) -> Result<Step, Refusal> {
    let known = resolve::service(&intent.running, service)?;
    let (backend, change, said) = match resolve::backend(known, text) {
        Ok(backend) => {
            let change = Change::RemoveBackend {
                service: service.to_owned(),
                backend: backend.into(),
            };
            (backend, Some(change), format!("removed {}", shown(backend)))
        }
        // What the file has and the running configuration lacks was removed before.
        Err(refusal) => {
            let of_file = resolve::service(&intent.file, service).and_then(|service| resolve::backend(service, text));
            let backend = of_file.ok().ok_or(refusal)?;
            (backend, None, format!("{} is removed already", shown(backend)))
        }
    };
    Ok(Step {
        service: service.to_owned(),
        backend: Some(backend.into()),
        action: change.map(Action::Change),
        said,
    })
}

pub(super) fn set_admin(intent: &Intent, service: &str, text: &str, admin: Admin) -> Result<Step, Refusal> {
    let backend = resolve::backend(resolve::service(&intent.running, service)?, text)?;
    let done = match admin {
        Admin::Active => "activated",
        Admin::Draining => "drained",
        Admin::Disabled => "disabled",
        Admin::Suspended => "suspended",
    };
    Ok(if backend.admin == admin {
        unmodified(service, backend, format!("{} is {admin} already", shown(backend)))
    } else {
        let said = format!("{done} {}", shown(backend));
        modified(service, backend, Modification::Admin(admin), said)
    })
}

pub(super) fn set_weight(intent: &Intent, service: &str, text: &str, weight: u32) -> Result<Step, Refusal> {
    let backend = resolve::backend(resolve::service(&intent.running, service)?, text)?;
    let before = backend.weight;
    Ok(if before == weight {
        unmodified(
            service,
            backend,
            format!("{} has weight {weight} already", shown(backend)),
        )
    } else {
        let said = format!("weight of {} changed from {before} to {weight}", shown(backend));
        modified(service, backend, Modification::Weight(weight), said)
    })
}

pub(super) fn migrate(intent: &Intent, service: &str, [from, to]: [&str; 2], flows: bool) -> Result<Step, Refusal> {
    let known = resolve::service(&intent.running, service)?;
    let (from, to) = (resolve::backend(known, from)?, resolve::backend(known, to)?);
    if from == to {
        return Err(usage(format!(
            "{} cannot give clients to itself: name two backends",
            shown(from)
        )));
    }
    if to.admin == Admin::Disabled {
        return Err(usage(format!(
            "{} is disabled and would lose them at once: activate it first",
            shown(to)
        )));
    }
    let said = format!("clients of {} belong to {} now", shown(from), shown(to));
    Ok(Step {
        action: Some(Action::Migrate(Migration {
            service: service.to_owned(),
            from: from.into(),
            to: to.into(),
            flows,
        })),
        ..unmodified(service, from, said)
    })
}

fn modified(service: &str, backend: &Backend, modification: Modification, said: String) -> Step {
    Step {
        action: Some(Action::Change(Change::ModifyBackend {
            service: service.to_owned(),
            backend: backend.into(),
            modification,
        })),
        ..unmodified(service, backend, said)
    }
}

fn unmodified(service: &str, backend: &Backend, said: String) -> Step {
    Step {
        service: service.to_owned(),
        backend: Some(backend.into()),
        action: None,
        said,
    }
}

impl BackendKeys {
    /// Whether the backend has the values that are given here.
    fn agree_with(&self, backend: &Backend) -> bool {
        let Self {
            name,
            weight,
            backup,
            server_id,
        } = self;
        name.as_ref().is_none_or(|name| *name == backend.name)
            && weight.is_none_or(|weight| weight == backend.weight)
            && backup.is_none_or(|backup| backup == backend.backup)
            && server_id.as_ref().is_none_or(|id| {
                let own = backend.server_id.as_ref().map(ToString::to_string);
                own.is_some_and(|own| own.eq_ignore_ascii_case(id))
            })
    }
}

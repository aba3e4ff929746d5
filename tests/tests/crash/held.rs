//! What a data plane holds and shows, in terms that do not depend on how it came about.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use balancer::{
    config,
    control::protocol::{Request, Response},
    dataplane::Dataplane,
};
use balancer_common::abi::{Backend, Generation, Role};
use balancer_tests::lab::Balancer;
use serde_json::Value;

/// Clients whose backends are asked for, of each of some services.
const CLIENTS: u8 = 40;

/// What a daemon says: its configuration, its backends with their shares, and where clients go.
#[derive(PartialEq, Debug)]
pub(super) struct View {
    export: String,
    backends: Vec<Value>,
    whereabouts: BTreeMap<(&'static str, IpAddr), Option<String>>,
}

impl View {
    pub(super) fn of(balancer: &Balancer<'_>) -> Self {
        let export = balancer.command(&["export"]);
        let mut backends: Vec<Value> = balancer.json(&["backend", "list"]);
        for backend in &mut backends {
            let fields = backend.as_object_mut().expect("a backend is an object");
            fields.retain(|key, _| {
                ["service", "name", "address", "weight", "admin", "health", "share"].contains(&&**key)
            });
        }
        let whereabouts = ["web", "names", "s10", "s19"].into_iter().flat_map(|service| {
            (1..=CLIENTS).map(move |client| {
                let client = Ipv4Addr::new(203, 0, 113, client).into();
                ((service, client), backend_of(balancer, service, client))
            })
        });
        Self {
            export: String::from_utf8(export.stdout).expect("a configuration is text"),
            backends,
            whereabouts: whereabouts.collect(),
        }
    }
}

fn backend_of(balancer: &Balancer<'_>, service: &str, client: IpAddr) -> Option<String> {
    let request = Request::Lookup {
        service: service.to_owned(),
        client,
        port: Some(40_000),
        connection_id: None,
    };
    match balancer.ask(&request) {
        Response::Lookup(lookup) => lookup.backend,
        other => panic!("{other:?} is no answer to a lookup"),
    }
}

/// What the maps hold, with names in the place of indices.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// Records of services.
    services: BTreeMap<String, String>,
    /// Records of backends.
    backends: BTreeMap<String, String>,
    /// Owners of the slots of each service's table.
    tables: BTreeMap<String, Vec<String>>,
    /// Targets of endpoints.
    endpoints: BTreeMap<String, String>,
    /// Who may use which service.
    access: BTreeMap<String, String>,
}

impl Held {
    /// What the daemon has left that has ended.
    pub(super) fn by(balancer: &Balancer<'_>) -> Self {
        let settings = config::load(&balancer.config())
            .expect("the file is valid")
            .config
            .dataplane;
        let dataplane = Dataplane::open(&settings).expect("what is pinned can be opened");
        let state = dataplane.state();
        let service = |index: u32| state.services[&index].name.clone();
        let backend = |index: u32| {
            let backend = state.backends.get(&index)?;
            Some(format!("{}/{}", service(backend.record.service), backend.name))
        };
        let named = |index| backend(index).unwrap_or_else(|| format!("nobody ({index})"));
        let backend_records = state.backends.iter().map(|(&index, entry)| {
            let record = Backend {
                service: 0,
                incarnation: 0,
                ..entry.record
            };
            (named(index), format!("{record:?}"))
        });
        let tables = state.services.iter().map(|(&index, entry)| {
            let table = dataplane.published_table(index).expect("a service has a table");
            (entry.name.clone(), table.into_iter().map(named).collect())
        });
        let endpoints = state.endpoints.iter().map(|(key, &target)| {
            let target = if matches!(key.role(), Some(Role::Backend | Role::Server)) {
                named(target)
            } else {
                service(target)
            };
            (format!("{key:?}"), target)
        });
        let access = state.access.iter().map(|(key, access)| {
            let service = service(u32::from_be_bytes(key.prefix.service));
            (
                format!("{service} {:?} {}", key.prefix.client, key.bits),
                format!("{access:?}"),
            )
        });
        let records = state.services.values().map(|entry| {
            let generation = entry.record.and_then(|record| record.source_lists());
            // Which one counts is a matter of the past.
            let record = format!("{:?}", entry.record);
            let record = match generation {
                Some(Generation::Even) => record.replace("guard: 3", "guard: 1"),
                _ => record,
            };
            (entry.name.clone(), record)
        });
        Self {
            access: access.collect(),
            services: records.collect(),
            backends: backend_records.collect(),
            tables: tables.collect(),
            endpoints: endpoints.collect(),
        }
    }
}

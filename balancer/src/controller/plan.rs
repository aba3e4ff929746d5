//! A plan in the words of the control protocol.

use std::collections::BTreeSet;

use super::foresight::Foresight;
use crate::{
    config::{Backend, Config, Service},
    control::protocol::{BackendName, Plan, PlannedService},
    intent::{Change, Endpoint, changes},
};

/// What making `to` of `from` changes, and does to clients and flows.
pub(super) fn plan(from: &Config, to: &Config, foresight: &Foresight) -> Plan {
    let changes = changes(from, to);
    let mut plan = Plan {
        clients_moved: foresight.clients_moved(),
        flows_moved: foresight.all_flows().leave,
        flows: foresight.all_flows().total(),
        known_clients_moved: foresight.all_known().leave,
        known_clients: foresight.all_known().total(),
        changes: changes.iter().map(ToString::to_string).collect(),
        ..Plan::default()
    };
    let mut touched = BTreeSet::new();
    for change in &changes {
        match change {
            Change::SetInterfaces(_) => {}
            Change::AddService(service) => {
                plan.services_added.push(service.name.clone());
                plan.backends_added.extend(backend_names(service));
            }
            Change::RemoveService(name) => {
                plan.services_removed.push(name.clone());
                plan.backends_removed
                    .extend(find(from, name).into_iter().flat_map(backend_names));
            }
            Change::AddBackend { service, backend } => {
                touched.insert(service);
                plan.backends_added.push(backend_name(service, backend));
            }
            Change::RemoveBackend { service, backend } => {
                touched.insert(service);
                let backends = find(from, service).into_iter().flat_map(|service| &service.backends);
                let removed = backends.filter(|other| Endpoint::from(*other) == *backend);
                plan.backends_removed
                    .extend(removed.map(|backend| backend_name(service, backend)));
            }
            Change::Configure(settings) => {
                touched.insert(&settings.name);
            }
            Change::ModifyBackend { service, .. } => {
                touched.insert(service);
            }
        }
    }
    plan.services_changed = touched.into_iter().cloned().collect();
    let affected = plan.services_removed.iter().chain(&plan.services_changed);
    plan.services = affected
        .filter_map(|name| {
            let service = foresight.services.get(name)?;
            Some(PlannedService {
                service: name.clone(),
                slots: service.slots,
                slots_moved: service.moved_slots(),
                clients_moved: service.moved,
                flows_moved: service.flows.leave,
                flows: service.flows.total(),
                known_clients_moved: service.known.leave,
                known_clients: service.known.total(),
            })
        })
        .collect();
    plan
}

fn find<'c>(config: &'c Config, name: &str) -> Option<&'c Service> {
    config.services.iter().find(|service| service.name == name)
}

fn backend_names(service: &Service) -> impl Iterator<Item = BackendName> {
    service
        .backends
        .iter()
        .map(|backend| backend_name(&service.name, backend))
}

fn backend_name(service: &str, backend: &Backend) -> BackendName {
    BackendName {
        service: service.to_owned(),
        name: backend.name.clone(),
        address: backend.endpoint(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        config,
        controller::foresight::{Clients, Remembered},
    };

    fn parse(services: &str) -> Config {
        let text = format!("version = 1\ndataplane.interfaces = ['eth0']\n{services}");
        config::parse(&text, "f").unwrap().config
    }

    fn service(name: &str, host: u8, backends: &[u8]) -> String {
        let backends = backends
            .iter()
            .map(|host| format!("[[service.backend]]\nname = 'b{host}'\naddress = '10.0.0.{host}:80'\n"));
        let head = format!("[[service]]\nname = '{name}'\naddress = '192.0.2.{host}'\nports = [80]\n");
        head + &backends.collect::<String>()
    }

    fn clients(moved: f64, stay: u64, leave: u64) -> Clients {
        Clients {
            slots: 1_000,
            moved,
            flows: Remembered { stay, leave },
            known: Remembered {
                stay: 2 * stay,
                leave: 2 * leave,
            },
        }
    }

    fn shown(names: &[BackendName]) -> Vec<String> {
        let name = |name: &BackendName| format!("{}/{} {}", name.service, name.name, name.address);
        names.iter().map(name).collect()
    }

    #[test]
    fn a_plan_names_what_comes_goes_and_changes_and_sums_up_what_moves() {
        let from = [
            service("web", 1, &[1, 2]),
            service("old", 2, &[3]),
            service("same", 3, &[4]),
        ]
        .concat();
        let to = [
            service("web", 1, &[2, 5]).replace("[80]", "[80, 443]"),
            service("new", 4, &[6]),
            service("same", 3, &[4]),
        ]
        .concat();
        let foresight = Foresight {
            services: HashMap::from([
                ("web".to_owned(), clients(0.5, 7, 3)),
                ("old".to_owned(), clients(1.0, 0, 5)),
                ("same".to_owned(), clients(0.0, 11, 0)),
            ]),
            flows: HashMap::from([
                (1, Remembered { stay: 0, leave: 3 }),
                (2, Remembered { stay: 7, leave: 0 }),
                (3, Remembered { stay: 0, leave: 5 }),
                (4, Remembered { stay: 11, leave: 0 }),
            ]),
        };
        let plan = plan(&parse(&from), &parse(&to), &foresight);
        assert_eq!(plan.services_added, ["new"]);
        assert_eq!(plan.services_removed, ["old"]);
        assert_eq!(plan.services_changed, ["web"]);
        assert_eq!(
            shown(&plan.backends_added),
            ["web/b5 10.0.0.5:80", "new/b6 10.0.0.6:80"]
        );
        assert_eq!(
            shown(&plan.backends_removed),
            ["web/b1 10.0.0.1:80", "old/b3 10.0.0.3:80"]
        );
        assert!((plan.clients_moved - 0.5).abs() < 1e-9, "{}", plan.clients_moved);
        assert_eq!((plan.flows_moved, plan.flows), (8, 26));
        assert_eq!((plan.known_clients_moved, plan.known_clients), (16, 52));
        let services: Vec<_> = plan
            .services
            .iter()
            .map(|service| {
                (
                    &*service.service,
                    service.slots_moved,
                    service.flows_moved,
                    service.flows,
                    service.known_clients_moved,
                    service.known_clients,
                )
            })
            .collect();
        assert_eq!(services, [("old", 1_000, 5, 5, 10, 10), ("web", 500, 3, 10, 6, 20)]);
    }

    #[test]
    fn nothing_is_planned_where_nothing_differs() {
        let config = parse(&service("web", 1, &[1]));
        let foresight = Foresight {
            services: HashMap::from([("web".to_owned(), clients(0.0, 9, 0))]),
            flows: HashMap::new(),
        };
        let plan = plan(&config, &config, &foresight);
        assert!(plan.is_empty());
        assert_eq!((plan.clients_moved, plan.flows_moved, plan.flows), (0.0, 0, 9));
    }
}

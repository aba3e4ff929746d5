//! Which addresses and ports lead to which service or backend.

use std::collections::{BTreeMap, HashMap, HashSet};

use balancer_common::abi::{ANY_PORT, EndpointKey, Port, Role};

use super::{DesiredBackend, DesiredService};

/// A backend's endpoint and what a reply from it may be a reply of.
#[derive(Debug, Default)]
struct Owners {
    /// Backend indices, ascending.
    backends: BTreeMap<u32, Way>,
}

/// How a backend's endpoint was come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Through one port of the VIP, or through the port that the endpoint itself has.
    Single,
    /// Through several ports of the VIP.
    Several,
}

/// The endpoints of a set of services.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    services: HashMap<EndpointKey, u32>,
    backends: HashMap<EndpointKey, Owners>,
    servers: HashMap<EndpointKey, u32>,
}

impl Endpoints {
    /// Adds the endpoints of a service's VIP.
    pub(super) fn add_service(&mut self, index: u32, service: &DesiredService) {
        for port in ports_or_any(&service.ports) {
            self.services.insert(
                EndpointKey::new(Role::Service, service.vip, port, service.protocol),
                index,
            );
        }
        // Several services may share a VIP: one of them, the same one each time, stands for it.
        self.services
            .entry(EndpointKey::vip(service.vip))
            .and_modify(|first| *first = index.min(*first))
            .or_insert(index);
    }

    /// Adds what a backend of the service with index `service` is called in QUIC connection IDs.
    pub(super) fn add_server(&mut self, service: u32, index: u32, backend: &DesiredBackend) {
        let key = backend.server_id.map(|id| EndpointKey::server(service, id));
        self.servers.extend(key.map(|key| (key, index)));
    }

    /// Adds the endpoints that a backend's replies come from.
    pub(super) fn add_backend(&mut self, index: u32, service: &DesiredService, backend: &DesiredBackend) {
        let key = |port| EndpointKey::new(Role::Backend, backend.address, port, service.protocol);
        if backend.port == ANY_PORT {
            for port in ports_or_any(&service.ports) {
                self.own(key(port), index, Way::Single);
            }
        } else {
            let way = if service.ports.len() == 1 {
                Way::Single
            } else {
                Way::Several
            };
            self.own(key(backend.port), index, way);
        }
    }

    fn own(&mut self, key: EndpointKey, index: u32, way: Way) {
        self.backends.entry(key).or_default().backends.insert(index, way);
    }

    /// The backends some of whose replies cannot be told apart by the endpoint that they come from.
    pub(super) fn shared(&self) -> HashSet<u32> {
        let mut shared = HashSet::new();
        for (key, owners) in &self.backends {
            let beside = self.beside(key);
            if owners.backends.len() > 1 || beside.is_some() {
                shared.extend(owners.backends.keys());
                shared.extend(beside.into_iter().flat_map(|(_, owners)| owners.backends.keys()));
            }
            shared.extend(
                owners
                    .backends
                    .iter()
                    .filter(|&(_, way)| *way == Way::Several)
                    .map(|(index, _)| index),
            );
        }
        shared
    }

    /// A backend under any port meets every other one at the same address: the endpoint of such backends, and who they
    /// are, for an endpoint that has a port.
    fn beside(&self, key: &EndpointKey) -> Option<(EndpointKey, &Owners)> {
        let any_port = EndpointKey::new(Role::Backend, key.address, ANY_PORT, key.protocol());
        let owners = self.backends.get(&any_port).filter(|_| *key != any_port)?;
        Some((any_port, owners))
    }

    /// Every endpoint with its target. Of several backends that own one, the one that replies from there have led to in
    /// `current` keeps it, since flows from before it was shared rely on that; else the one with the lowest index gets it.
    pub(super) fn targets(&self, current: &HashMap<EndpointKey, u32>) -> HashMap<EndpointKey, u32> {
        let keeper = |key: &EndpointKey, owners: &Owners| {
            let target = current.get(key).copied();
            target.filter(|target| owners.backends.contains_key(target))
        };
        let of_backends = self.backends.iter().filter_map(|(key, owners)| {
            let beside = || {
                self.beside(key)
                    .and_then(|(any_port, owners)| keeper(&any_port, owners))
            };
            let first = || owners.backends.keys().next().copied();
            Some((*key, keeper(key, owners).or_else(beside).or_else(first)?))
        });
        let others = self.services.iter().chain(&self.servers);
        others.map(|(key, target)| (*key, *target)).chain(of_backends).collect()
    }
}

/// The port that a backend's replies carry as their source, or [`ANY_PORT`] if it is the one that they came with. A
/// backend that has come to be reached through several ports keeps the one that it had, which the replies of flows from
/// before then rely on.
pub(super) fn reply_port(service: &DesiredService, backend: &DesiredBackend, current: Port) -> Port {
    if backend.port == ANY_PORT {
        return ANY_PORT;
    }
    let kept = current != ANY_PORT && (service.ports.is_empty() || service.ports.contains(&current));
    match service.ports.first() {
        _ if kept => current,
        Some(&first) => first,
        None => ANY_PORT,
    }
}

fn ports_or_any(ports: &[Port]) -> Vec<Port> {
    if ports.is_empty() {
        vec![ANY_PORT]
    } else {
        ports.to_vec()
    }
}

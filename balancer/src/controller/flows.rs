//! Requests about remembered flows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use balancer_common::abi::{Address, Client, ClientKey, Flow, FlowKey, Owner};

use super::{
    Controller,
    desired::backend_index,
    requests::{Reply, respond},
    resolve::{self, not_found},
};
use crate::{
    config::{Protocol, Service},
    control::protocol::{FlowCount, FlowCountView, FlowFilter, FlowList, FlowView, Refusal, Response},
    intent::{Endpoint, Migration},
};

/// A [`FlowFilter`] in the terms of the flow table.
struct Matcher {
    client: Option<Address>,
    port: Option<u16>,
    /// Service indices.
    services: Option<HashSet<u32>>,
    /// Backend indices.
    backends: Option<HashSet<u32>>,
}

impl Matcher {
    fn matches(&self, key: &FlowKey, flow: Flow) -> bool {
        let among = |set: &Option<HashSet<u32>>, index| set.as_ref().is_none_or(|set| set.contains(&index));
        self.client.is_none_or(|client| client == key.client)
            && self.port.is_none_or(|port| port.to_be_bytes() == key.client_port)
            && among(&self.services, key.service)
            && among(&self.backends, flow.owner.backend)
    }

    /// Whether all flows of a remembered client are meant: with a port, only one flow is.
    fn matches_client(&self, key: &ClientKey, client: &Client, masks: &ClientMasks) -> bool {
        let among = |set: &Option<HashSet<u32>>, index| set.as_ref().is_none_or(|set| set.contains(&index));
        let is_client = |address: Address| {
            let mask = masks.get(&key.service);
            key.pinned == 0 && mask.is_some_and(|&mask| address.masked(mask) == key.client)
        };
        self.port.is_none()
            && self.client.is_none_or(is_client)
            && among(&self.services, key.service)
            && among(&self.backends, client.owner.backend)
    }
}

/// The bits that count of clients' addresses, by service index.
type ClientMasks = HashMap<u32, Address>;

impl Controller {
    fn client_masks(&self) -> ClientMasks {
        let services = self.dataplane.state().services.iter();
        services
            .filter_map(|(&index, service)| Some((index, service.record?.client_mask)))
            .collect()
    }

    pub(super) fn list_flows(&mut self, filter: &FlowFilter, limit: usize, reply: Reply) {
        let matcher = self.matcher(filter);
        self.read(
            move |memory| {
                let matcher = matcher?;
                let (mut total, mut flows) = (0, Vec::new());
                memory.for_each_flow(|key, &flow| {
                    if matcher.matches(key, flow) {
                        total += 1;
                        if flows.len() < limit {
                            flows.push((*key, flow));
                        }
                    }
                });
                Ok((total, flows))
            },
            |controller, read| {
                let list = read.map(|(total, flows)| {
                    let views = flows.iter().filter_map(|(key, flow)| controller.view(key, *flow));
                    let mut flows: Vec<_> = views.collect();
                    flows.sort_by(|one, other| {
                        (&one.service, one.client, one.vip).cmp(&(&other.service, other.client, other.vip))
                    });
                    Response::Flows(FlowList { flows, total })
                });
                respond(reply, list);
            },
        );
    }

    pub(super) fn count_flows(&mut self, filter: &FlowFilter, reply: Reply) {
        let matcher = self.matcher(filter);
        self.read(
            move |memory| {
                let matcher = matcher?;
                let mut by_backend: BTreeMap<_, u64> = BTreeMap::new();
                memory.for_each_flow(|key, &flow| {
                    if matcher.matches(key, flow) {
                        let Owner { backend, incarnation } = flow.owner;
                        *by_backend.entry((backend, incarnation)).or_default() += 1;
                    }
                });
                Ok(by_backend)
            },
            |controller, read| respond(reply, read.map(|counts| controller.flow_count(&counts))),
        );
    }

    fn flow_count(&self, by_backend: &BTreeMap<(u32, u32), u64>) -> Response {
        let state = self.dataplane.state();
        let backends = by_backend.iter().filter_map(|(&(index, incarnation), &flows)| {
            let backend = state.backends.get(&index)?;
            let service = state.services.get(&backend.record.service)?;
            (backend.record.incarnation == incarnation).then(|| FlowCountView {
                service: service.name.clone(),
                name: backend.name.clone(),
                flows,
            })
        });
        Response::FlowCount(FlowCount {
            flows: by_backend.values().sum(),
            backends: backends.collect(),
        })
    }

    pub(super) fn flush_flows(&mut self, filter: &FlowFilter, reply: Reply) {
        let matcher = self.matcher(filter);
        let masks = self.client_masks();
        self.read(
            move |memory| {
                let matcher = matcher?;
                let flushed = memory.flush_flows(|key, flow| matcher.matches(key, *flow));
                // A client that stayed remembered would have its next flow where the last one was.
                let forgotten = memory.flush_clients(|key, client| matcher.matches_client(key, client, &masks))?;
                tracing::info!("forgot {forgotten} clients on request");
                tracing::info!("forgot {flushed} flows on request");
                Ok(Response::Flushed(flushed))
            },
            |controller, flushed| {
                controller.reader.forget();
                respond(reply, flushed);
            },
        );
    }

    /// Moves the clients that were ordered to be moved, and forgets the orders. `then` is told how many live flows moved.
    pub(super) fn migrate(&mut self, then: impl FnOnce(&mut Self, anyhow::Result<u64>) + Send + 'static) {
        let migrations = self.intent.migrations.clone();
        let from_to: Vec<_> = migrations
            .iter()
            .filter_map(|migration| self.owners(migration))
            .collect();
        self.read(
            move |memory| {
                let mut moved = 0;
                for (from, to, flows) in from_to {
                    let clients = memory.migrate_clients(from, to)?;
                    tracing::info!("moved {clients} remembered clients");
                    if flows {
                        moved += memory.migrate_flows(from, to);
                    }
                }
                Ok(moved)
            },
            move |controller, moved| {
                controller.reader.forget();
                let moved = moved.and_then(|moved| {
                    controller.intent.migrations.retain(|other| !migrations.contains(other));
                    controller.store.write(&controller.intent)?;
                    Ok(moved)
                });
                then(controller, moved);
            },
        );
    }

    /// From whom to whom a migration moves clients, and whether live flows move too.
    fn owners(&self, migration: &Migration) -> Option<(Owner, Owner, bool)> {
        let service = resolve::service(&self.intent.running, &migration.service).ok()?;
        let owner = |backend| self.dataplane.owner(self.index_of(service, backend)?);
        Some((
            owner(migration.from)?,
            owner(migration.to)?,
            self.moves_flows(migration),
        ))
    }

    /// Whether live flows move too: a TCP connection breaks when another backend gets its packets.
    pub(super) fn moves_flows(&self, migration: &Migration) -> bool {
        let service = resolve::service(&self.intent.running, &migration.service);
        migration.flows || service.is_ok_and(|service| service.protocol == Protocol::Udp)
    }

    /// The index that the data plane knows a backend by.
    pub(super) fn index_of(&self, service: &Service, backend: Endpoint) -> Option<u32> {
        let mut backends = service.backends.iter();
        let backend = backends.find(|other| Endpoint::from(*other) == backend)?;
        backend_index(&self.dataplane.state().index, service, backend)
    }

    fn view(&self, key: &FlowKey, flow: Flow) -> Option<FlowView> {
        let state = self.dataplane.state();
        let service = state.services.get(&key.service)?;
        let backend = state.backends.get(&flow.owner.backend);
        let backend = backend.filter(|backend| backend.record.incarnation == flow.owner.incarnation);
        let socket = |address: Address, port| SocketAddr::new(address.into(), u16::from_be_bytes(port));
        Some(FlowView {
            service: service.name.clone(),
            client: socket(key.client, key.client_port),
            vip: socket(service.record?.vip, key.service_port),
            backend: backend.map(|backend| backend.name.clone()),
        })
    }

    fn matcher(&self, filter: &FlowFilter) -> Result<Matcher, Refusal> {
        let running = &self.intent.running;
        let known = &self.dataplane.state().index;
        let service = filter
            .service
            .as_ref()
            .map(|name| resolve::service(running, name))
            .transpose()?;
        let chosen = service.map_or(&*running.services, std::slice::from_ref);
        let backends = filter.backend.as_ref().map(|text| backends(chosen, text)).transpose()?;
        let index = |(service, backend): &(&Service, Endpoint)| self.index_of(service, *backend);
        Ok(Matcher {
            client: filter.client.map(Into::into),
            port: filter.port,
            services: service.map(|service| known.services.get(&*service.name).copied().into_iter().collect()),
            backends: backends.map(|backends| backends.iter().filter_map(index).collect()),
        })
    }
}

/// The backends that are called so, of any of the services.
fn backends<'c>(services: &'c [Service], text: &str) -> Result<Vec<(&'c Service, Endpoint)>, Refusal> {
    if let [service] = services {
        return Ok(vec![(service, resolve::backend(service, text)?.into())]);
    }
    let of_service = |service: &'c Service| Some((service, resolve::backend(service, text).ok()?.into()));
    let found: Vec<_> = services.iter().filter_map(of_service).collect();
    if found.is_empty() {
        let names = services.iter().map(|service| service.name.clone());
        return Err(not_found(&format!("no service has a backend {text}"), names));
    }
    Ok(found)
}

//! Requests about remembered flows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use balancer_common::abi::{Address, Client, ClientKey, Flow, FlowKey};

use super::{
    Controller,
    desired::backend_index,
    resolve::{self, not_found},
};
use crate::{
    config::{Protocol, Service},
    control::protocol::{FlowCount, FlowCountView, FlowFilter, FlowList, FlowView, Refusal},
    intent::Endpoint,
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

    pub(super) fn list_flows(&self, filter: &FlowFilter, limit: usize) -> anyhow::Result<FlowList> {
        let matcher = self.matcher(filter)?;
        let mut list = FlowList::default();
        self.dataplane.for_each_flow(|key, &flow| {
            if matcher.matches(key, flow) {
                list.total += 1;
                if list.flows.len() < limit {
                    list.flows.extend(self.view(key, flow));
                }
            }
        })?;
        list.flows
            .sort_by(|one, other| (&one.service, one.client, one.vip).cmp(&(&other.service, other.client, other.vip)));
        Ok(list)
    }

    pub(super) fn count_flows(&self, filter: &FlowFilter) -> anyhow::Result<FlowCount> {
        let matcher = self.matcher(filter)?;
        let mut total = 0;
        let mut by_backend: BTreeMap<u32, u64> = BTreeMap::new();
        self.dataplane.for_each_flow(|key, &flow| {
            if matcher.matches(key, flow) {
                total += 1;
                *by_backend.entry(flow.owner.backend).or_default() += 1;
            }
        })?;
        let state = self.dataplane.state();
        let backends = by_backend.into_iter().filter_map(|(index, flows)| {
            let backend = state.backends.get(&index)?;
            let service = state.services.get(&backend.record.service)?;
            Some(FlowCountView {
                service: service.name.clone(),
                name: backend.name.clone(),
                flows,
            })
        });
        Ok(FlowCount {
            flows: total,
            backends: backends.collect(),
        })
    }

    pub(super) fn flush_flows(&mut self, filter: &FlowFilter) -> anyhow::Result<u64> {
        let matcher = self.matcher(filter)?;
        let flushed = self.dataplane.flush_flows(|key, flow| matcher.matches(key, *flow))?;
        // A client that stayed remembered would have its next flow where the last one was.
        let masks = self.client_masks();
        let forgotten = self
            .dataplane
            .flush_clients(|key, client| matcher.matches_client(key, client, &masks))?;
        tracing::info!("forgot {forgotten} clients on request");
        tracing::info!("forgot {flushed} flows on request");
        Ok(flushed)
    }

    /// Moves the clients that were ordered to be moved, and forgets the orders. Returns how many live flows moved.
    pub(super) fn migrate(&mut self) -> anyhow::Result<u64> {
        let mut moved = 0;
        for migration in self.intent.migrations.clone() {
            let Ok(service) = resolve::service(&self.intent.running, &migration.service) else {
                continue;
            };
            let (from, to) = (
                self.index_of(service, migration.from),
                self.index_of(service, migration.to),
            );
            if let (Some(from), Some(to)) = (from, to) {
                let clients = self.dataplane.migrate_clients(from, to)?;
                tracing::info!("{}: moved {clients} remembered clients", service.name);
                // A TCP connection breaks when another backend gets its packets.
                if service.protocol == Protocol::Udp || migration.flows {
                    moved += self.dataplane.migrate_flows(from, to)?;
                }
            }
        }
        self.intent.migrations.clear();
        self.store.write(&self.intent)?;
        Ok(moved)
    }

    /// The index that the data plane knows a backend by.
    pub(super) fn index_of(&self, service: &Service, backend: Endpoint) -> Option<u32> {
        let mut backends = service.backends.iter();
        let backend = backends.find(|other| Endpoint::from(*other) == backend)?;
        backend_index(&self.dataplane.state().index(), service, backend)
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
        let known = self.dataplane.state().index();
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

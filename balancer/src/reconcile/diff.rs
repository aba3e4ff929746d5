//! The difference between two states, as operations in a safe order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use balancer_common::abi::{
    ANY_PORT, Backend, BackendFlags, ClientPrefix, EndpointKey, Forwarding, Generation, Pin, Role, Service,
    ServiceParts, Tracking,
};

use super::{
    Desired, DesiredBackend, DesiredService, Index, Operation, PinTarget, PrefixKey, State, Table,
    access::{self, Turn},
    endpoints::{Endpoints, reply_port},
};
use crate::maglev::Candidate;

/// The maps have no room for what is desired.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Exhausted {
    /// Too many services.
    #[error("there is room for {0} services: raise dataplane.max_services")]
    Services(u32),
    /// Too many backends.
    #[error("there is room for {0} backends: raise dataplane.max_backends")]
    Backends(u32),
}

/// How many indices there are for services and backends; index 0 is never used.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Service indices, index 0 included.
    pub services: u32,
    /// Backend indices, index 0 included.
    pub backends: u32,
}

/// The operations that turn `state` into `desired`.
///
/// New things are completed before anything leads to them, and nothing is freed before everything that led to it has
/// been turned away: backends, their endpoints and tables come first, then services and their endpoints; then the
/// endpoints that are gone, then services, then backends. An endpoint that changes hands is never absent.
///
/// # Errors
///
/// If `limits` do not suffice; nothing needs to be undone.
pub fn diff(state: &State, desired: &Desired, limits: Limits) -> Result<Vec<Operation>, Exhausted> {
    let plan = Plan::new(state, desired, limits)?;
    let mut operations = Vec::new();
    plan.write_backends(&mut operations);
    plan.bind(Side::Backends, &mut operations);
    plan.publish_tables(&mut operations);
    plan.write_pins(&mut operations);
    plan.write_sources(&mut operations);
    plan.write_access(&mut operations);
    plan.write_services(&mut operations);
    plan.bind(Side::Services, &mut operations);
    plan.unbind(&mut operations);
    plan.remove_pins(&mut operations);
    plan.release(&mut operations);
    Ok(operations)
}

/// Which endpoints are bound in a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Backends,
    Services,
}

/// What is desired, with the indices that it has or gets.
struct Plan<'a> {
    state: &'a State,
    services: Vec<PlannedService<'a>>,
    endpoints: HashMap<EndpointKey, u32>,
    pins: HashMap<PrefixKey, Pin>,
    /// What becomes of source lists, by service index.
    access: BTreeMap<u32, Turn>,
}

pub(super) struct PlannedService<'a> {
    pub(super) index: u32,
    pub(super) desired: &'a DesiredService,
    pub(super) backends: Vec<PlannedBackend<'a>>,
}

pub(super) struct PlannedBackend<'a> {
    pub(super) index: u32,
    pub(super) desired: &'a DesiredBackend,
    pub(super) record: Backend,
}

impl<'a> Plan<'a> {
    fn new(state: &'a State, desired: &'a Desired, limits: Limits) -> Result<Self, Exhausted> {
        let known = &state.index;
        let mut services = place_services(state, known, desired, limits)?;
        place_backends(state, known, &mut services, limits)?;

        let mut endpoints = Endpoints::default();
        for service in &services {
            endpoints.add_service(service.index, service.desired);
            // Where no reply comes by, none needs to be recognised.
            let replying = service.desired.forwarding.replies_return();
            for backend in &service.backends {
                endpoints.add_server(service.index, backend.index, backend.desired);
            }
            for backend in service.backends.iter().filter(|_| replying) {
                endpoints.add_backend(backend.index, service.desired, backend.desired);
            }
        }
        let shared = endpoints.shared();
        let any_full_nat = desired.services.iter().any(is_full_nat);
        for service in &mut services {
            for backend in &mut service.backends {
                backend.record = record(state, service.index, service.desired, backend, &shared);
                // One backend stands for all that share its endpoint.
                if is_full_nat(service.desired) || (any_full_nat && shared.contains(&backend.index)) {
                    backend.record.flags = backend.record.flags.with(BackendFlags::FULL_NAT);
                }
            }
        }
        Ok(Self {
            state,
            pins: services.iter().flat_map(pins).collect(),
            access: services
                .iter()
                .map(|service| (service.index, turn(state, service)))
                .collect(),
            services,
            endpoints: endpoints.targets(&state.endpoints),
        })
    }

    fn write_backends(&self, operations: &mut Vec<Operation>) {
        for backend in self.services.iter().flat_map(|service| &service.backends) {
            let index = backend.index;
            let name = &backend.desired.name;
            let existing = self.state.backends.get(&index);
            match existing {
                None => operations.push(Operation::ClaimBackend {
                    index,
                    name: name.clone(),
                }),
                Some(existing) if existing.name != *name => operations.push(Operation::RenameBackend {
                    index,
                    name: name.clone(),
                }),
                Some(_) => {}
            }
            if existing.is_none_or(|existing| existing.record != backend.record) {
                operations.push(Operation::WriteBackend {
                    index,
                    record: backend.record,
                });
            }
        }
    }

    fn publish_tables(&self, operations: &mut Vec<Operation>) {
        let tables: Vec<_> = self
            .services
            .iter()
            .map(|service| (service.index, table(service)))
            .filter(|(index, table)| self.state.tables.get(index) != Some(table))
            .collect();
        if !tables.is_empty() {
            operations.push(Operation::PublishTables { tables });
        }
    }

    fn write_pins(&self, operations: &mut Vec<Operation>) {
        let mut changed: Vec<_> = self
            .pins
            .iter()
            .filter(|(key, pin)| self.state.pins.get(key) != Some(pin))
            .map(|(&key, &pin)| (key, pin))
            .collect();
        changed.sort_unstable_by_key(|&(key, _)| key);
        operations.extend(changed.into_iter().map(|(key, pin)| Operation::WritePin { key, pin }));
    }

    fn remove_pins(&self, operations: &mut Vec<Operation>) {
        let pins = self.state.pins.keys();
        let mut gone: Vec<_> = pins.filter(|key| !self.pins.contains_key(key)).copied().collect();
        gone.sort_unstable();
        operations.extend(gone.into_iter().map(|key| Operation::RemovePin { key }));
    }

    /// Before the service's record, which sends packets to look there.
    fn write_sources(&self, operations: &mut Vec<Operation>) {
        for PlannedService { index, desired, .. } in &self.services {
            if let Some(pool) = &desired.sources
                && self.state.sources.get(index) != Some(pool)
            {
                operations.push(Operation::WriteSources {
                    index: *index,
                    pool: pool.clone(),
                });
            }
        }
    }

    /// Before the service's record, which sends packets to look there.
    fn write_access(&self, operations: &mut Vec<Operation>) {
        let entries = self.access.values().flat_map(|turn| &turn.before);
        let entries: Vec<_> = entries.copied().collect();
        if !entries.is_empty() {
            operations.push(Operation::WriteAccess { entries });
        }
    }

    /// What is left to be done to source lists once no packet goes by the old record of their service.
    fn tidy_access(&self) -> impl Iterator<Item = Operation> {
        let entries: Vec<_> = self.access.values().flat_map(|turn| &turn.after).copied().collect();
        let mut keys: Vec<_> = self.access.values().flat_map(|turn| &turn.gone).copied().collect();
        keys.extend(access::of_others(&self.state.access, |index| {
            self.access.contains_key(&index)
        }));
        let write = (!entries.is_empty()).then_some(Operation::WriteAccess { entries });
        let remove = (!keys.is_empty()).then_some(Operation::RemoveAccess { keys });
        write.into_iter().chain(remove)
    }

    fn write_services(&self, operations: &mut Vec<Operation>) {
        for service in &self.services {
            let index = service.index;
            let existing = self.state.services.get(&index);
            if existing.is_none() {
                operations.push(Operation::ClaimService {
                    index,
                    name: service.desired.name.clone(),
                });
            }
            let generation = self.access.get(&index).and_then(|turn| turn.generation);
            let record = service_record(service.desired, generation);
            if existing.and_then(|existing| existing.record) != Some(record) {
                operations.push(Operation::WriteService { index, record });
            }
        }
    }

    fn bind(&self, side: Side, operations: &mut Vec<Operation>) {
        let mut changed: Vec<_> = self
            .endpoints
            .iter()
            .filter(|(key, target)| self.state.endpoints.get(key) != Some(target))
            .filter(|(key, _)| matches!(key.role(), Some(Role::Backend | Role::Server)) == (side == Side::Backends))
            .map(|(&key, &target)| (key, target))
            .collect();
        changed.sort_unstable();
        operations.extend(changed.into_iter().map(|(key, target)| Operation::Bind { key, target }));
    }

    fn unbind(&self, operations: &mut Vec<Operation>) {
        let mut gone: Vec<_> = self
            .state
            .endpoints
            .keys()
            .filter(|key| !self.endpoints.contains_key(key))
            .copied()
            .collect();
        gone.sort_unstable();
        operations.extend(gone.into_iter().map(|key| Operation::Unbind { key }));
    }

    fn release(&self, operations: &mut Vec<Operation>) {
        let services: BTreeSet<_> = self.services.iter().map(|service| service.index).collect();
        let backends: BTreeSet<_> = self
            .services
            .iter()
            .flat_map(|service| &service.backends)
            .map(|backend| backend.index)
            .collect();
        let gone = |kept: &BTreeSet<u32>, index: &u32| (!kept.contains(index)).then_some(*index);
        let services = self.state.services.keys().filter_map(|index| gone(&services, index));
        let backends = self.state.backends.keys().filter_map(|index| gone(&backends, index));
        let translated = self.services.iter().filter(|service| service.desired.sources.is_some());
        let translated: BTreeSet<_> = translated.map(|service| service.index).collect();
        let sources = self.state.sources.keys().filter_map(|index| gone(&translated, index));
        let mut released: Vec<_> = sources.map(|index| Operation::RemoveSources { index }).collect();
        released.extend(self.tidy_access());
        released.extend(services.map(|index| Operation::ReleaseService { index }));
        released.extend(backends.map(|index| Operation::ReleaseBackend { index }));
        if !released.is_empty() {
            // A packet that was on its way when the last thing that led there was turned away has passed by then.
            operations.push(Operation::Settle);
            operations.extend(released);
        }
    }
}

fn is_full_nat(service: &DesiredService) -> bool {
    service.forwarding == Forwarding::FullNat
}

/// Gives each service the index that its name has, or a free one.
fn place_services<'a>(
    state: &State,
    known: &Index,
    desired: &'a Desired,
    limits: Limits,
) -> Result<Vec<PlannedService<'a>>, Exhausted> {
    let mut free = (1..limits.services).filter(|index| !state.services.contains_key(index));
    desired
        .services
        .iter()
        .map(|service| {
            let index = known
                .services
                .get(service.name.as_str())
                .copied()
                .or_else(|| free.next());
            Ok(PlannedService {
                index: index.ok_or(Exhausted::Services(limits.services - 1))?,
                desired: service,
                backends: Vec::new(),
            })
        })
        .collect()
}

/// Gives each backend the index that its identity has, or a free one.
fn place_backends(
    state: &State,
    known: &Index,
    services: &mut [PlannedService<'_>],
    limits: Limits,
) -> Result<(), Exhausted> {
    let mut free = (1..limits.backends).filter(|index| !state.backends.contains_key(index));
    for service in services {
        for desired in &service.desired.backends {
            let identity = (service.index, desired.address, desired.port);
            let index = known.backends.get(&identity).copied().or_else(|| free.next());
            service.backends.push(PlannedBackend {
                index: index.ok_or(Exhausted::Backends(limits.backends - 1))?,
                desired,
                record: Backend::VACANT,
            });
        }
    }
    Ok(())
}

fn record(
    state: &State,
    service_index: u32,
    service: &DesiredService,
    backend: &PlannedBackend<'_>,
    shared: &HashSet<u32>,
) -> Backend {
    let desired = backend.desired;
    let existing = state.backends.get(&backend.index).map(|existing| existing.record);
    let incarnation = match existing {
        Some(existing) if existing.incarnation != 0 => existing.incarnation,
        _ => next_incarnation(state.vacated.get(&backend.index).copied()),
    };
    let current_reply_port = existing.map_or(ANY_PORT, |existing| existing.reply_port);
    let mut flags = desired.flags;
    if shared.contains(&backend.index) {
        flags = flags.with(BackendFlags::SHARED_ENDPOINT);
    }
    Backend {
        address: desired.address,
        service: service_index,
        incarnation,
        next_hop: desired.next_hop,
        tunnel_source: desired.tunnel_source,
        mtu: desired.mtu,
        port: desired.port,
        reply_port: reply_port(service, desired, current_reply_port),
        flags,
        ip: desired.address.family() as u8,
    }
}

/// The incarnation after `last`. 0 is none, so it is passed over when the count comes round.
fn next_incarnation(last: Option<u32>) -> u32 {
    last.unwrap_or(0).wrapping_add(1).max(1)
}

/// The table that a service is to have.
pub(super) fn table(service: &PlannedService<'_>) -> Table {
    let mut candidates: Vec<_> = service
        .backends
        .iter()
        .filter(|backend| backend.desired.weight > 0)
        .map(|backend| Candidate {
            address: backend.desired.address,
            port: backend.desired.port,
            weight: backend.desired.weight,
            value: backend.index,
            serves: backend.desired.takes_clients(),
        })
        .collect();
    candidates.sort_unstable_by_key(|candidate| candidate.value);
    let handover = (service.desired.tracking == Tracking::Changes).then(|| {
        let backends = service.backends.iter();
        let serving = backends.filter(|backend| backend.record.flags.contains(BackendFlags::KEEPS_FLOWS));
        let mut serving: Vec<_> = serving.map(|backend| backend.index).collect();
        serving.sort_unstable();
        serving
    });
    Table {
        size: service.desired.table_size,
        candidates,
        handover,
        selection: service.desired.selection,
    }
}

/// The pins of a service. One to a backend that is not there is left out: its clients go where the table says.
fn pins(service: &PlannedService<'_>) -> Vec<(PrefixKey, Pin)> {
    let index_of = |name: &String| {
        let backend = service.backends.iter().find(|backend| backend.desired.name == *name);
        backend.map(|backend| backend.index)
    };
    let pins = service.desired.pins.iter().filter_map(|desired| {
        let key = PrefixKey {
            bits: ClientPrefix::SERVICE_BITS + desired.bits,
            prefix: ClientPrefix::new(service.index, desired.client),
        };
        let pin = match &desired.target {
            PinTarget::Key(key) => Pin { key: *key, backend: 0 },
            PinTarget::Backend(name) => Pin {
                key: [0; 16],
                backend: index_of(name)?,
            },
        };
        Some((key, pin))
    });
    pins.collect()
}

/// What becomes of the source lists of a service.
fn turn(state: &State, service: &PlannedService<'_>) -> Turn {
    let record = state.services.get(&service.index).and_then(|existing| existing.record);
    let present = record.and_then(|record| record.source_lists());
    access::turn(
        service.index,
        &state.access,
        present,
        service.desired.source_lists.as_deref(),
    )
}

fn service_record(service: &DesiredService, source_lists: Option<Generation>) -> Service {
    ServiceParts {
        vip: service.vip,
        client_mask: service.client_mask,
        table_size: service.table_size.slots(),
        timeout: service.timeout,
        affinity: service.affinity,
        connection_ids: service.connection_ids,
        forwarding: service.forwarding,
        tracking: service.tracking,
        when_down: service.when_down,
        mss: service.mss,
        has_pins: !service.pins.is_empty(),
        selection: service.selection,
        watches_failures: service.watches_failures,
        source_lists,
        limits: service.limits,
    }
    .into()
}

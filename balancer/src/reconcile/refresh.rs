//! The difference that a change of health makes: it is in few services, and nothing but their tables and their backends'
//! standing has to be looked at. With a thousand services that saves most of the time from a failed probe to the table.

use std::collections::HashSet;

use balancer_common::abi::{Backend, BackendFlags};

use super::{
    Desired, Operation, State, Table,
    diff::{PlannedBackend, PlannedService, table},
};

/// What follows from a change of health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// What is to be written of backends. Once that is done packets go to those that serve.
    pub records: Vec<Operation>,
    /// The tables that then are to be published, in any order, by service index.
    pub tables: Vec<(u32, Table)>,
}

/// The same as [`diff`](super::diff()) where, since `state` was reached, only weights and standings of backends of the
/// `desired` services have changed; the other services are left out. `None` if more has changed.
pub fn refresh(state: &State, desired: &Desired) -> Option<Refresh> {
    let wanted: HashSet<&str> = desired.services.iter().map(|service| service.name.as_str()).collect();
    let known = state.index_of(|name| wanted.contains(name));
    let mut refresh = Refresh::default();
    for service in &desired.services {
        let index = *known.services.get(service.name.as_str())?;
        let mut backends = Vec::new();
        for backend in &service.backends {
            let index = *known.backends.get(&(index, backend.address, backend.port))?;
            let existing = state.backends.get(&index)?.record;
            let record = Backend {
                flags: backend.flags.with(endpoint_flags(existing.flags)),
                ..existing
            };
            if record != existing {
                refresh.records.push(Operation::WriteBackend { index, record });
            }
            backends.push(PlannedBackend {
                index,
                desired: backend,
                record,
            });
        }
        let table = table(&PlannedService {
            index,
            desired: service,
            backends,
        });
        if state.tables.get(&index)? != &table {
            refresh.tables.push((index, table));
        }
    }
    Some(refresh)
}

/// Those flags of a backend that are about its endpoint, whatever its standing is.
fn endpoint_flags(flags: BackendFlags) -> BackendFlags {
    let of_endpoint = [BackendFlags::SHARED_ENDPOINT, BackendFlags::FULL_NAT];
    let kept = of_endpoint.into_iter().filter(|flag| flags.contains(*flag));
    kept.fold(BackendFlags::default(), BackendFlags::with)
}

//! The difference that a change of health makes: first in one backend's record, by which packets go from then on, then in its
//! service, of which nothing but the table and the backends' standing has to be looked at.

use balancer_common::abi::{Address, Backend, BackendFlags, Port};

use super::{
    Desired, Operation, State, Table,
    diff::{PlannedBackend, PlannedService, table},
};

/// What is to be written of a backend of `service` that has come to stand like this, if anything is. `None` also if it is not there
/// yet.
pub fn stand(state: &State, service: &str, address: Address, port: Port, flags: BackendFlags) -> Option<Operation> {
    let service = *state.index.services.get(service)?;
    let index = *state.index.backends.get(&(service, address, port))?;
    let existing = state.backends.get(&index)?.record;
    let record = standing(existing, flags);
    (record != existing).then_some(Operation::WriteBackend { index, record })
}

/// The record of a backend that stands like this.
fn standing(existing: Backend, flags: BackendFlags) -> Backend {
    Backend {
        flags: flags.with(endpoint_flags(existing.flags)),
        ..existing
    }
}

/// What follows from a change of health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// What is to be written of backends.
    pub records: Vec<Operation>,
    /// The tables that then are to be published, in any order, by service index.
    pub tables: Vec<(u32, Table)>,
}

/// The same as [`diff`](super::diff()) where, since `state` was reached, only weights and standings of backends of the
/// `desired` services have changed; the other services are left out. `None` if more has changed.
pub fn refresh(state: &State, desired: &Desired) -> Option<Refresh> {
    let known = &state.index;
    let mut refresh = Refresh::default();
    for service in &desired.services {
        let index = *known.services.get(service.name.as_str())?;
        let mut backends = Vec::new();
        for backend in &service.backends {
            let index = *known.backends.get(&(index, backend.address, backend.port))?;
            let existing = state.backends.get(&index)?.record;
            let record = standing(existing, backend.flags);
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

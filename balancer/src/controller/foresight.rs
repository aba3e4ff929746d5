//! What a change would do to clients and flows, before anything moves.

use std::{collections::HashMap, ops::AddAssign, time::Instant};

use balancer_common::abi::{BackendFlags, Flow};

use super::{Controller, desired};
use crate::{
    config::Config,
    maglev,
    reconcile::{self, Operation, State},
};

/// What becomes of clients and flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Foresight {
    /// Of the services that are there now, by name.
    pub(super) services: HashMap<String, Clients>,
    /// Of the flows of each backend, by its index.
    pub(super) flows: HashMap<u32, Flows>,
}

/// The clients of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Clients {
    /// Slots of the table that is published now.
    pub(super) slots: u32,
    /// The share of new clients, 0 to 1, that get another backend or none.
    pub(super) moved: f64,
    /// The flows of all backends.
    pub(super) flows: Flows,
}

/// Live flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flows {
    /// Those that keep their backend.
    pub(super) stay: u64,
    /// Those that lose it.
    pub(super) leave: u64,
}

impl Foresight {
    /// The share of new clients, 0 to 1, over the slots of all services, that get another backend or none.
    pub(super) fn clients_moved(&self) -> f64 {
        let slots: f64 = self.services.values().map(|clients| f64::from(clients.slots)).sum();
        let moved = |clients: &Clients| f64::from(clients.slots) * clients.moved;
        let moved: f64 = self.services.values().map(moved).sum();
        if slots > 0.0 { moved / slots } else { 0.0 }
    }

    /// How many live flows lose their backend.
    pub(super) fn flows_moved(&self) -> u64 {
        self.flows.values().map(|flows| flows.leave).sum()
    }
}

impl Clients {
    /// How many slots of the present table change hands, to the nearest whole one where the table gets another size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of slots is neither negative nor more than that"
    )]
    pub(super) fn moved_slots(&self) -> u64 {
        (f64::from(self.slots) * self.moved).round() as u64
    }
}

impl Flows {
    /// All of them.
    pub(super) const fn total(self) -> u64 {
        self.stay + self.leave
    }
}

impl AddAssign for Flows {
    fn add_assign(&mut self, other: Self) {
        self.stay += other.stay;
        self.leave += other.leave;
    }
}

impl Controller {
    /// What making `config` run would do. Changes nothing.
    ///
    /// Backends that would first have to prove themselves, or to start slowly, are taken to have done so.
    ///
    /// # Errors
    ///
    /// If the data plane has no room for `config`, or cannot be read.
    pub(super) fn foresee(&self, config: &Config) -> anyhow::Result<Foresight> {
        let mut knowledge = self.knowledge.clone();
        knowledge.follow(&self.intent.running, config);
        knowledge.trust_newcomers_since(&self.knowledge);
        let mut desired = desired::desired(config, &knowledge, self.timer);
        self.slow_start.scale(config, &mut desired, Instant::now());
        let before = self.dataplane.state();
        let operations = reconcile::diff(before, &desired, self.dataplane.limits())?;
        let moved = self.clients_moved(&operations)?;
        let mut after = before.clone();
        for operation in operations {
            after.apply(operation);
        }
        let flows = self.flows_moved(&after)?;
        let mut of_service: HashMap<u32, Flows> = HashMap::new();
        for (backend, flows) in &flows {
            if let Some(backend) = before.backends.get(backend) {
                *of_service.entry(backend.record.service).or_default() += *flows;
            }
        }
        let services = before.services.iter().map(|(index, service)| {
            let clients = Clients {
                slots: service.record.map_or(0, |record| record.table_size),
                moved: moved.get(index).copied().unwrap_or(0.0),
                flows: of_service.get(index).copied().unwrap_or_default(),
            };
            (service.name.clone(), clients)
        });
        Ok(Foresight {
            services: services.collect(),
            flows,
        })
    }

    /// The share of new clients that move, for each service index whose table changes.
    fn clients_moved(&self, operations: &[Operation]) -> anyhow::Result<HashMap<u32, f64>> {
        let mut moved = HashMap::new();
        for operation in operations {
            match operation {
                Operation::PublishTables { tables } => {
                    for (index, table) in tables {
                        let slots = maglev::build(&table.candidates, table.size);
                        moved.insert(*index, maglev::moved(&self.dataplane.published_table(*index)?, &slots));
                    }
                }
                Operation::ReleaseService { index } => {
                    moved.insert(*index, maglev::moved(&self.dataplane.published_table(*index)?, &[0]));
                }
                _ => {}
            }
        }
        Ok(moved)
    }

    /// What becomes of the flows of each backend index when the data plane holds `after`.
    fn flows_moved(&self, after: &State) -> anyhow::Result<HashMap<u32, Flows>> {
        let before = self.dataplane.state();
        let mut flows: HashMap<u32, Flows> = HashMap::new();
        self.dataplane.for_each_flow(|_, &flow| {
            if keeps(before, flow) {
                let of_backend = flows.entry(flow.owner.backend).or_default();
                if keeps(after, flow) {
                    of_backend.stay += 1;
                } else {
                    of_backend.leave += 1;
                }
            }
        })?;
        Ok(flows)
    }
}

/// Whether a flow's next packet goes to the backend that is remembered, as the XDP program decides it.
fn keeps(state: &State, flow: Flow) -> bool {
    state.backends.get(&flow.owner.backend).is_some_and(|backend| {
        backend.record.incarnation == flow.owner.incarnation && backend.record.flags.contains(BackendFlags::KEEPS_FLOWS)
    })
}

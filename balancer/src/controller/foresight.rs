//! What a change would do to clients and flows, before anything moves.

use std::collections::HashMap;

use balancer_common::abi::{BackendFlags, Flow};

use super::{Controller, desired};
use crate::{
    config::Config,
    maglev,
    reconcile::{self, Operation, State},
};

/// What becomes of clients and flows.
#[derive(Clone, Debug, Default)]
pub(super) struct Foresight {
    /// What becomes of the clients of services that are there now, by the service's name.
    pub(super) services: HashMap<String, Clients>,
    /// What becomes of remembered flows, by the index of their backend.
    pub(super) flows: HashMap<u32, Flows>,
}

/// New clients of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    /// Slots of the table that is published now.
    pub(super) slots: u32,
    /// The share of clients, 0 to 1, that get another backend, or none.
    pub(super) moved: f64,
}

/// Flows of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flows {
    /// Those that stay.
    pub(super) stay: u64,
    /// Those that lose their backend.
    pub(super) leave: u64,
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

impl Controller {
    /// What making `config` run would do. Changes nothing.
    ///
    /// Backends that would first have to prove themselves are taken to have done so.
    ///
    /// # Errors
    ///
    /// If the data plane has no room for `config`, or cannot be read.
    pub(super) fn foresee(&self, config: &Config) -> anyhow::Result<Foresight> {
        let mut knowledge = self.knowledge.clone();
        knowledge.follow(&self.intent.running, config);
        knowledge.trust_newcomers_since(&self.knowledge);
        let desired = desired::desired(config, &knowledge);
        let state = self.dataplane.state();
        let operations = reconcile::diff(state, &desired, self.dataplane.limits())?;
        let mut after = state.clone();
        let mut services = HashMap::new();
        for (index, service) in &state.services {
            let slots = service.record.map_or(0, |record| record.table_size);
            services.insert(*index, Clients { slots, moved: 0.0 });
        }
        for operation in operations {
            match &operation {
                Operation::PublishTables { tables } => {
                    for (index, table) in tables {
                        if let Some(clients) = services.get_mut(index) {
                            let published = self.dataplane.published_table(*index)?;
                            clients.moved = maglev::moved(&published, &maglev::build(&table.candidates, table.size));
                        }
                    }
                }
                Operation::ReleaseService { index } => {
                    if let Some(clients) = services.get_mut(index) {
                        clients.moved = maglev::moved(&self.dataplane.published_table(*index)?, &[0]);
                    }
                }
                _ => {}
            }
            after.apply(operation);
        }
        let names = services
            .into_iter()
            .filter_map(|(index, clients)| Some((state.services.get(&index)?.name.clone(), clients)));
        Ok(Foresight {
            services: names.collect(),
            flows: self.flows_after(&after)?,
        })
    }

    fn flows_after(&self, after: &State) -> anyhow::Result<HashMap<u32, Flows>> {
        let before = self.dataplane.state();
        let mut flows: HashMap<u32, Flows> = HashMap::new();
        self.dataplane.for_each_flow(|_, &flow| {
            if stays(before, flow) {
                let of_backend = flows.entry(flow.backend).or_default();
                if stays(after, flow) {
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
fn stays(state: &State, flow: Flow) -> bool {
    state.backends.get(&flow.backend).is_some_and(|backend| {
        backend.record.incarnation == flow.incarnation && backend.record.flags.contains(BackendFlags::KEEPS_FLOWS)
    })
}

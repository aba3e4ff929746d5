//! What a change would do to clients and flows, before anything moves.

use std::{collections::HashMap, iter::Sum, ops::AddAssign, time::Instant};

use balancer_common::abi::{BackendFlags, Owner};

use super::{Controller, desired};
use crate::{
    config::Config,
    dataplane::Census,
    maglev,
    reconcile::{self, BackendEntry, Operation, State},
};

/// What becomes of clients and flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Foresight {
    /// Of the services that are there now, by name.
    pub(super) services: HashMap<String, Clients>,
    /// Of the live flows of each backend, by its index.
    pub(super) flows: HashMap<u32, Remembered>,
}

/// The clients of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Clients {
    /// Slots of the table that is published now.
    pub(super) slots: u32,
    /// The share of new clients, 0 to 1, that get another backend or none.
    pub(super) moved: f64,
    /// The live flows of all backends.
    pub(super) flows: Remembered,
    /// The remembered clients of all backends.
    pub(super) known: Remembered,
}

/// Flows or clients that are remembered to have a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// Those that keep it.
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

    /// How many live flows keep and lose their backend.
    pub(super) fn all_flows(&self) -> Remembered {
        self.services.values().map(|clients| clients.flows).sum()
    }

    /// How many remembered clients keep and lose their backend.
    pub(super) fn all_known(&self) -> Remembered {
        self.services.values().map(|clients| clients.known).sum()
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

impl Remembered {
    /// All of them.
    pub(super) const fn total(self) -> u64 {
        self.stay + self.leave
    }
}

impl AddAssign for Remembered {
    fn add_assign(&mut self, other: Self) {
        self.stay += other.stay;
        self.leave += other.leave;
    }
}

impl Sum for Remembered {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, next| {
            sum += next;
            sum
        })
    }
}

impl Controller {
    /// What making `config` run would do to what `census` counts. Changes nothing.
    ///
    /// Backends that would first have to prove themselves, or to start slowly, are taken to have done so.
    ///
    /// # Errors
    ///
    /// If the data plane has no room for `config`, or its tables cannot be read.
    pub(super) fn foresee(&self, config: &Config, census: &Census) -> anyhow::Result<Foresight> {
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
        let mut flows = Fates::new(before, &after, BackendFlags::KEEPS_FLOWS);
        flows.count_all(&census.flows.by_backend);
        let mut known = Fates::new(before, &after, BackendFlags::KEEPS_CLIENTS);
        known.count_all(&census.clients);
        let flows_of_service = flows.by_service(before);
        let known_of_service = known.by_service(before);
        let services = before.services.iter().map(|(index, service)| {
            let clients = Clients {
                slots: service.record.map_or(0, |record| record.table_size),
                moved: moved.get(index).copied().unwrap_or(0.0),
                flows: flows_of_service.get(index).copied().unwrap_or_default(),
                known: known_of_service.get(index).copied().unwrap_or_default(),
            };
            (service.name.clone(), clients)
        });
        Ok(Foresight {
            services: services.collect(),
            flows: flows.by_backend(),
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
}

/// What becomes of what is remembered of each backend.
struct Fates(HashMap<u32, Fate>);

struct Fate {
    /// The incarnation of the backend that is meant.
    incarnation: u32,
    /// Whether it keeps what it has.
    stays: bool,
    count: u64,
}

impl Fates {
    /// Of all backends that keep `what` before, when the data plane comes to hold `after`.
    fn new(before: &State, after: &State, what: BackendFlags) -> Self {
        let keeps = |backend: &&BackendEntry| backend.record.flags.contains(what);
        let keeping = before.backends.iter().filter(|(_, backend)| keeps(backend));
        let fates = keeping.map(|(index, backend)| {
            let incarnation = backend.record.incarnation;
            let then = after.backends.get(index).filter(keeps);
            let fate = Fate {
                incarnation,
                stays: then.is_some_and(|then| then.record.incarnation == incarnation),
                count: 0,
            };
            (*index, fate)
        });
        Self(fates.collect())
    }

    fn count_all(&mut self, remembered: &HashMap<Owner, u64>) {
        for (owner, count) in remembered {
            if let Some(fate) = self.0.get_mut(&owner.backend)
                && fate.incarnation == owner.incarnation
            {
                fate.count += count;
            }
        }
    }

    fn by_backend(&self) -> HashMap<u32, Remembered> {
        let remembered = |(&index, fate): (&u32, &Fate)| {
            let (stay, leave) = if fate.stays { (fate.count, 0) } else { (0, fate.count) };
            (index, Remembered { stay, leave })
        };
        self.0.iter().map(remembered).collect()
    }

    fn by_service(&self, before: &State) -> HashMap<u32, Remembered> {
        let mut services: HashMap<u32, Remembered> = HashMap::new();
        for (index, remembered) in self.by_backend() {
            if let Some(backend) = before.backends.get(&index) {
                *services.entry(backend.record.service).or_default() += remembered;
            }
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use balancer_common::abi::Backend;

    use super::*;

    fn state(backends: &[(u32, u32, BackendFlags)]) -> State {
        let backends = backends.iter().map(|&(index, incarnation, flags)| {
            let record = Backend {
                service: 7,
                incarnation,
                flags,
                ..Backend::VACANT
            };
            let name = index.to_string();
            (index, BackendEntry { name, record })
        });
        State {
            backends: backends.collect(),
            ..State::default()
        }
    }

    #[test]
    fn what_is_remembered_stays_with_a_backend_that_is_the_same_and_keeps_it() {
        const KEEPS: BackendFlags = BackendFlags::KEEPS_CLIENTS;
        let none = BackendFlags::default();
        let before = state(&[(1, 1, KEEPS), (2, 1, KEEPS), (3, 1, KEEPS), (4, 1, KEEPS), (5, 1, none)]);
        // 2 goes, 3 is another one, 4 keeps its clients no more, 5 did not before.
        let after = state(&[(1, 1, KEEPS), (3, 2, KEEPS), (4, 1, none), (5, 1, KEEPS)]);
        let mut fates = Fates::new(&before, &after, KEEPS);
        let owners = (1..=6).flat_map(|backend| [1, 2].map(|incarnation| Owner { backend, incarnation }));
        fates.count_all(&owners.map(|owner| (owner, 1)).collect());
        let (stay, leave) = (Remembered { stay: 1, leave: 0 }, Remembered { stay: 0, leave: 1 });
        assert_eq!(
            fates.by_backend(),
            HashMap::from([(1, stay), (2, leave), (3, leave), (4, leave)])
        );
        assert_eq!(
            fates.by_service(&before),
            HashMap::from([(7, Remembered { stay: 1, leave: 3 })])
        );
    }

    #[test]
    fn the_share_that_moves_is_that_of_all_slots() {
        let clients = |slots, moved| Clients {
            slots,
            moved,
            ..Clients::default()
        };
        let foresight = Foresight {
            services: HashMap::from([
                ("small".to_owned(), clients(100, 1.0)),
                ("large".to_owned(), clients(300, 0.0)),
            ]),
            flows: HashMap::new(),
        };
        assert!((foresight.clients_moved() - 0.25).abs() < 1e-9);
        assert_eq!(clients(65_537, 1.0 / 3.0).moved_slots(), 21_846);
    }
}

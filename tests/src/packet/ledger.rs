//! What the data plane has counted.

use std::collections::BTreeMap;

use balancer::dataplane::Dataplane;
use balancer_common::{
    Event,
    abi::{Failures, Traffic},
};

/// What was counted, without zeroes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Traffic of services, by name.
    pub services: BTreeMap<String, Traffic>,
    /// Traffic of backends, by `SERVICE/BACKEND`.
    pub backends: BTreeMap<String, Traffic>,
    /// Failures of backends, by `SERVICE/BACKEND`.
    pub failures: BTreeMap<String, Failures>,
    /// Drops, by label.
    pub drops: BTreeMap<&'static str, u64>,
    /// Events, by label.
    pub events: BTreeMap<&'static str, u64>,
    /// Remembered flows.
    pub flows: u64,
}

/// The traffic of packets from clients.
pub fn received(packets: u64, bytes: u64, new_flows: u64) -> Traffic {
    Traffic {
        packets,
        bytes,
        new_flows,
        ..Traffic::default()
    }
}

/// The traffic of replies.
pub fn replied(reply_packets: u64, reply_bytes: u64) -> Traffic {
    Traffic {
        reply_packets,
        reply_bytes,
        ..Traffic::default()
    }
}

impl Ledger {
    /// What one service with one of its backends has counted.
    pub fn of(service: &str, backend: &str, traffic: Traffic, flows: u64) -> Self {
        Self {
            services: BTreeMap::from([(service.to_owned(), traffic)]),
            backends: BTreeMap::from([(format!("{service}/{backend}"), traffic)]),
            flows,
            ..Self::default()
        }
    }

    /// One drop.
    pub fn drop(label: &'static str) -> Self {
        Self {
            drops: BTreeMap::from([(label, 1)]),
            ..Self::default()
        }
    }

    /// So many drops.
    pub fn drop_of(label: &'static str, count: u64) -> Self {
        Self {
            drops: BTreeMap::from([(label, count)]),
            ..Self::default()
        }
    }

    /// One packet that was dropped, after its sender was told.
    pub fn told(label: &'static str) -> Self {
        Self {
            events: Self::event(Event::SenderTold).events,
            ..Self::drop(label)
        }
    }

    /// One event.
    pub fn event(event: Event) -> Self {
        Self {
            events: BTreeMap::from([(event.label(), 1)]),
            ..Self::default()
        }
    }

    pub(super) fn read(dataplane: &Dataplane) -> Self {
        let state = dataplane.state();
        let of_services = dataplane.service_traffic().expect("every service has counters");
        let services = state
            .services
            .iter()
            .map(|(&index, service)| (service.name.clone(), of_services[index as usize]));
        let backends = state.backends.iter().map(|(&index, backend)| {
            let service = &state.services[&backend.record.service];
            (index, format!("{}/{}", service.name, backend.name))
        });
        let of_all = dataplane.backend_traffic().expect("every backend has counters");
        let traffic = backends.clone().map(|(index, name)| (name, of_all[index as usize]));
        let failures = backends.map(|(index, name)| {
            let failures = dataplane.failures(index).expect("the index is in use");
            (name, failures)
        });
        let drops = dataplane.drops().expect("every reason has a counter");
        let events = dataplane.events().expect("every event has a counter");
        Self {
            services: services.collect(),
            backends: traffic.collect(),
            failures: failures.collect(),
            drops: drops
                .into_iter()
                .map(|(reason, count)| (reason.label(), count))
                .collect(),
            events: events
                .into_iter()
                .map(|(event, count)| (event.label(), count))
                .collect(),
            flows: dataplane
                .memory()
                .map(|memory| memory.count_flows())
                .expect("the flow table can be read")
                .total,
        }
    }

    /// What was counted after `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            services: grown(&self.services, &before.services),
            backends: grown(&self.backends, &before.backends),
            failures: failed(&self.failures, &before.failures),
            drops: increased(&self.drops, &before.drops),
            events: increased(&self.events, &before.events),
            flows: self.flows - before.flows,
        }
    }
}

fn increased(now: &BTreeMap<&'static str, u64>, before: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    now.iter()
        .map(|(label, count)| (*label, count - before.get(label).unwrap_or(&0)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn failed(now: &BTreeMap<String, Failures>, before: &BTreeMap<String, Failures>) -> BTreeMap<String, Failures> {
    now.iter()
        .map(|(name, failures)| {
            let before = before.get(name).copied().unwrap_or_default();
            let failed = Failures {
                refused: failures.refused - before.refused,
                unanswered: failures.unanswered - before.unanswered,
            };
            (name.clone(), failed)
        })
        .filter(|(_, failures)| *failures != Failures::default())
        .collect()
}

fn grown(now: &BTreeMap<String, Traffic>, before: &BTreeMap<String, Traffic>) -> BTreeMap<String, Traffic> {
    now.iter()
        .map(|(name, traffic)| {
            let before = before.get(name).copied().unwrap_or_default();
            let grown = Traffic {
                packets: traffic.packets - before.packets,
                bytes: traffic.bytes - before.bytes,
                new_flows: traffic.new_flows - before.new_flows,
                reply_packets: traffic.reply_packets - before.reply_packets,
                reply_bytes: traffic.reply_bytes - before.reply_bytes,
            };
            (name.clone(), grown)
        })
        .filter(|(_, traffic)| *traffic != Traffic::default())
        .collect()
}

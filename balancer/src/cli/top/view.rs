//! What `top` shows: rates from two moments' counters, and what the figures say together.

use std::{collections::HashMap, time::Duration};

use crate::{
    config::Admin,
    control::protocol::{BackendView, Figures, ServiceView},
    health::Health,
};

/// Everything on the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// The daemon's version.
    pub(super) version: String,
    /// How long it has run.
    pub(super) uptime: Duration,
    /// Number of changes that were made to the data plane.
    pub(super) generation: u64,
    /// Remembered flows.
    pub(super) flows: u64,
    /// Flows that there is room for.
    pub(super) max_flows: u32,
    /// Flows a second that were forgotten to make room for others.
    pub(super) evictions: f64,
    pub(super) services: Vec<ServiceRow>,
    pub(super) backends: Vec<BackendRow>,
    /// Dropped packets a second by reason, of the reasons that there have been since the data plane was made; the most
    /// frequent first.
    pub(super) drops: Vec<(String, f64)>,
    /// Why the figures are old, if they are.
    pub(super) trouble: Option<String>,
}

/// What passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Packets a second, both ways.
    pub(super) packets: f64,
    /// Bits of IP packets a second, both ways.
    pub(super) bits: f64,
    /// Flows that begin a second.
    pub(super) new_flows: f64,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) address: String,
    /// Backends that are up, and all of them.
    pub(super) up: (usize, usize),
    /// Flows of all backends.
    pub(super) flows: u64,
    pub(super) rates: Rates,
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackendRow {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) state: &'static str,
    /// Whether clients can be served by it.
    pub(super) is_well: bool,
    pub(super) hot: bool,
    /// The share of new clients that it is given, 0 to 1.
    pub(super) given: f64,
    /// The share of the service's flows that it carries, 0 to 1.
    pub(super) carried: f64,
    pub(super) flows: u64,
    pub(super) rates: Rates,
}

/// Counters that go up.
#[derive(Clone, Copy, Default)]
struct Counters {
    packets: u64,
    bytes: u64,
    new_flows: u64,
}

impl View {
    /// What `now` shows. Rates come from what there was before, and how long ago.
    pub(super) fn new(now: &Figures, before: Option<(&Figures, Duration)>) -> Self {
        let seconds = before.map_or(0.0, |(_, elapsed)| elapsed.as_secs_f64());
        let before = before.map(|(figures, _)| figures);
        let services = before.map(|figures| &*figures.services).unwrap_or_default();
        let services: HashMap<_, _> = services
            .iter()
            .map(|service| (&*service.name, service.into()))
            .collect();
        let backends = before.map(|figures| &*figures.backends).unwrap_or_default();
        let backends: HashMap<_, _> = backends.iter().map(|backend| (key(backend), backend.into())).collect();
        let mut of_services: HashMap<&str, u64> = HashMap::new();
        for backend in &now.backends {
            *of_services.entry(&backend.service).or_default() += backend.flows;
        }
        let flows_of = |service: &str| of_services.get(service).copied().unwrap_or(0);
        let drop_rate = |(reason, &count): (&String, &u64)| {
            let earlier = before.map(|figures| figures.drops.get(reason).copied().unwrap_or(0));
            (reason.clone(), rate(count, earlier, seconds))
        };
        let mut drops: Vec<_> = now.drops.iter().map(drop_rate).collect();
        drops.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        Self {
            version: now.status.version.clone(),
            uptime: Duration::from_secs(now.status.uptime_seconds),
            generation: now.status.dataplane.generation,
            flows: now.status.dataplane.flows,
            max_flows: now.status.dataplane.max_flows,
            evictions: rate(now.evictions, before.map(|figures| figures.evictions), seconds),
            services: now
                .services
                .iter()
                .map(|service| ServiceRow {
                    name: service.name.clone(),
                    address: service.address.to_string(),
                    up: (service.backends_up, service.backends),
                    flows: flows_of(&service.name),
                    rates: rates(service.into(), services.get(&*service.name).copied(), seconds),
                })
                .collect(),
            backends: now
                .backends
                .iter()
                .map(|backend| BackendRow {
                    service: backend.service.clone(),
                    name: backend.name.clone(),
                    state: state(backend),
                    is_well: is_well(backend),
                    hot: backend.hot,
                    given: backend.share,
                    carried: share(backend.flows, flows_of(&backend.service)),
                    flows: backend.flows,
                    rates: rates(backend.into(), backends.get(&key(backend)).copied(), seconds),
                })
                .collect(),
            drops,
            trouble: None,
        }
    }

    /// How full the flow table is, 0 to 1.
    pub(super) fn pressure(&self) -> f64 {
        share(self.flows, self.max_flows.into()).min(1.0)
    }
}

impl From<&ServiceView> for Counters {
    fn from(service: &ServiceView) -> Self {
        Self {
            packets: service.packets + service.reply_packets,
            bytes: service.bytes + service.reply_bytes,
            new_flows: service.new_flows,
        }
    }
}

impl From<&BackendView> for Counters {
    fn from(backend: &BackendView) -> Self {
        Self {
            packets: backend.packets + backend.reply_packets,
            bytes: backend.bytes + backend.reply_bytes,
            new_flows: backend.new_flows,
        }
    }
}

fn key(backend: &BackendView) -> (&str, &str) {
    (&backend.service, &backend.address)
}

/// Something that was not there before has no rates yet.
fn rates(now: Counters, before: Option<Counters>, seconds: f64) -> Rates {
    Rates {
        packets: rate(now.packets, before.map(|before| before.packets), seconds),
        bits: 8.0 * rate(now.bytes, before.map(|before| before.bytes), seconds),
        new_flows: rate(now.new_flows, before.map(|before| before.new_flows), seconds),
    }
}

/// How much a counter goes up in a second. One that was taken back, as of a backend that came again, begins anew.
#[expect(
    clippy::cast_precision_loss,
    reason = "counters grow by far less than 2^52 in a moment"
)]
fn rate(now: u64, before: Option<u64>, seconds: f64) -> f64 {
    let grown = before.map_or(0, |before| now.saturating_sub(before));
    if seconds > 0.0 { grown as f64 / seconds } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a host has far fewer than 2^52 flows")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What there is to know of a backend in one word: what the operator wants, unless something is wrong.
const fn state(backend: &BackendView) -> &'static str {
    match (backend.admin, backend.health) {
        (Admin::Disabled, _) => "disabled",
        (Admin::Suspended, _) => "suspended",
        _ if backend.unreachable.is_some() => "unreachable",
        _ if backend.ejected => "ejected",
        (_, Health::Down) => "down",
        (Admin::Draining, _) => "draining",
        (Admin::Active, Health::Unknown) => "unknown",
        (Admin::Active, Health::Up) => "up",
    }
}

const fn is_well(backend: &BackendView) -> bool {
    !matches!(backend.health, Health::Down) && backend.unreachable.is_none() && !backend.ejected
}

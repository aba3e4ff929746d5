//! The figures of one moment as metric families.

use super::exposition::{Exposition, Kind, Labels};
use crate::{
    control::protocol::{BackendView, Failures, ServiceView},
    controller::Snapshot,
    health::Health,
};

/// A family of which each service or backend has a sample: name, explanation, value.
type Row<T, V> = (&'static str, &'static str, fn(&T) -> V);

const SERVICE_COUNTERS: [Row<ServiceView, u64>; 5] = [
    (
        "balancer_service_packets_total",
        "Packets forwarded from clients.",
        |service| service.packets,
    ),
    (
        "balancer_service_bytes_total",
        "Bytes of IP packets forwarded from clients.",
        |service| service.bytes,
    ),
    ("balancer_service_new_flows_total", "Flows that began.", |service| {
        service.new_flows
    }),
    (
        "balancer_service_reply_packets_total",
        "Packets returned to clients.",
        |service| service.reply_packets,
    ),
    (
        "balancer_service_reply_bytes_total",
        "Bytes of IP packets returned to clients.",
        |service| service.reply_bytes,
    ),
];

const BACKEND_COUNTERS: [Row<BackendView, u64>; 5] = [
    (
        "balancer_backend_packets_total",
        "Packets forwarded to the backend.",
        |backend| backend.packets,
    ),
    (
        "balancer_backend_bytes_total",
        "Bytes of IP packets forwarded to the backend.",
        |backend| backend.bytes,
    ),
    (
        "balancer_backend_new_flows_total",
        "Flows that began at the backend.",
        |backend| backend.new_flows,
    ),
    (
        "balancer_backend_reply_packets_total",
        "Packets that the backend returned.",
        |backend| backend.reply_packets,
    ),
    (
        "balancer_backend_reply_bytes_total",
        "Bytes of IP packets that the backend returned.",
        |backend| backend.reply_bytes,
    ),
];

const BACKEND_GAUGES: [Row<BackendView, u64>; 5] = [
    ("balancer_backend_flows", "Remembered flows.", |backend| backend.flows),
    (
        "balancer_backend_up",
        "1 if the backend is up or nothing is known of it yet, 0 if it is down.",
        |backend| u64::from(backend.health != Health::Down),
    ),
    (
        "balancer_backend_ejected",
        "1 if failures in live traffic have taken the backend out of service, else 0.",
        |backend| u64::from(backend.ejected),
    ),
    (
        "balancer_backend_hot",
        "1 if the backend carries well more than its share of the service's flows, else 0.",
        |backend| u64::from(backend.hot),
    ),
    ("balancer_backend_weight", "Configured weight.", |backend| {
        u64::from(backend.weight)
    }),
];

/// Writes the families of a snapshot.
pub(super) fn write(exposition: &mut Exposition, snapshot: &Snapshot) {
    for (name, help, value) in SERVICE_COUNTERS {
        let mut family = exposition.family(Kind::Counter, name, help);
        for service in &snapshot.services {
            family.sample(&Labels::new([("service", &service.name)]), value(service));
        }
    }
    let labels: Vec<Labels> = snapshot.backends.iter().map(labels).collect();
    let backends = || snapshot.backends.iter().zip(&labels);
    let counters = BACKEND_COUNTERS.map(|row| (Kind::Counter, row));
    let gauges = BACKEND_GAUGES.map(|row| (Kind::Gauge, row));
    for (kind, (name, help, value)) in counters.into_iter().chain(gauges) {
        let mut family = exposition.family(kind, name, help);
        for (backend, labels) in backends() {
            family.sample(labels, value(backend));
        }
    }
    let mut shares = exposition.family(
        Kind::Gauge,
        "balancer_backend_share_ratio",
        "Share of new clients, 0 to 1.",
    );
    for (backend, labels) in backends() {
        shares.sample(labels, backend.share);
    }
    failures(exposition, snapshot);
    data_plane(exposition, snapshot);
}

fn failures(exposition: &mut Exposition, snapshot: &Snapshot) {
    let mut family = exposition.family(
        Kind::Counter,
        "balancer_backend_failures_total",
        "Connections that the backend has refused or not answered in time, where passive detection watches it.",
    );
    for backend in &snapshot.backends {
        if let Some(Failures { refused, unanswered }) = backend.failures {
            for (reason, count) in [("refused", refused), ("unanswered", unanswered)] {
                let (name, service) = (("backend", &*backend.name), ("service", &*backend.service));
                family.sample(&Labels::new([name, service, ("reason", reason)]), count);
            }
        }
    }
}

fn labels(backend: &BackendView) -> Labels {
    Labels::new([("backend", &backend.name), ("service", &backend.service)])
}

fn data_plane(exposition: &mut Exposition, snapshot: &Snapshot) {
    let mut drops = exposition.family(Kind::Counter, "balancer_drops_total", "Dropped packets by reason.");
    for (reason, count) in &snapshot.drops {
        drops.sample(&Labels::new([("reason", reason.label())]), *count);
    }
    let mut events = exposition.family(
        Kind::Counter,
        "balancer_dataplane_events_total",
        "What the data plane did beside forwarding packets, by event.",
    );
    for (event, count) in &snapshot.events {
        events.sample(&Labels::new([("event", event.label())]), *count);
    }
    let status = &snapshot.status;
    let mut single = |kind, name, help, value: u64| exposition.family(kind, name, help).sample(&Labels::NONE, value);
    single(
        Kind::Gauge,
        "balancer_flow_table_entries",
        "Remembered flows.",
        status.dataplane.flows,
    );
    single(
        Kind::Gauge,
        "balancer_flow_table_capacity",
        "Flows that there is room for.",
        u64::from(status.dataplane.max_flows),
    );
    single(
        Kind::Counter,
        "balancer_flow_table_evictions_total",
        "Flows that were forgotten to make room for others.",
        snapshot.evictions,
    );
    single(
        Kind::Gauge,
        "balancer_table_generation",
        "Changes that were made to the data plane.",
        status.dataplane.generation,
    );
    let help = "The daemon's build; always 1.";
    let mut build = exposition.family(Kind::Gauge, "balancer_build_info", help);
    build.sample(&Labels::new([("version", &status.version)]), 1_u64);
}

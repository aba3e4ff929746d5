//! The figures of one moment as metric families.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, proto::MetricFamily};

use crate::{
    control::protocol::{BackendView, ServiceView},
    controller::Snapshot,
    health::Health,
};

/// The families of a snapshot. They are made anew for each scrape, since what they show lives elsewhere.
pub(super) fn families(snapshot: &Snapshot) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    services(&registry, &snapshot.services)?;
    backends(&registry, &snapshot.backends)?;
    data_plane(&registry, snapshot)?;
    Ok(registry.gather())
}

fn services(registry: &Registry, services: &[ServiceView]) -> prometheus::Result<()> {
    let family = |name, help| counters(registry, name, help, &["service"]);
    let packets = family("balancer_service_packets_total", "Packets forwarded from clients.")?;
    let bytes = family(
        "balancer_service_bytes_total",
        "Bytes of IP packets forwarded from clients.",
    )?;
    let new_flows = family("balancer_service_new_flows_total", "Flows that began.")?;
    let reply_packets = family("balancer_service_reply_packets_total", "Packets returned to clients.")?;
    let reply_bytes = family(
        "balancer_service_reply_bytes_total",
        "Bytes of IP packets returned to clients.",
    )?;
    for service in services {
        let labels = [service.name.as_str()];
        packets.with_label_values(&labels).inc_by(service.packets);
        bytes.with_label_values(&labels).inc_by(service.bytes);
        new_flows.with_label_values(&labels).inc_by(service.new_flows);
        reply_packets.with_label_values(&labels).inc_by(service.reply_packets);
        reply_bytes.with_label_values(&labels).inc_by(service.reply_bytes);
    }
    Ok(())
}

fn backends(registry: &Registry, backends: &[BackendView]) -> prometheus::Result<()> {
    let labels = ["service", "backend"];
    let family = |name, help| counters(registry, name, help, &labels);
    let gauge = |name, help| gauges(registry, name, help, &labels);
    let packets = family("balancer_backend_packets_total", "Packets forwarded to the backend.")?;
    let bytes = family(
        "balancer_backend_bytes_total",
        "Bytes of IP packets forwarded to the backend.",
    )?;
    let new_flows = family("balancer_backend_new_flows_total", "Flows that began at the backend.")?;
    let reply_packets = family(
        "balancer_backend_reply_packets_total",
        "Packets that the backend returned.",
    )?;
    let reply_bytes = family(
        "balancer_backend_reply_bytes_total",
        "Bytes of IP packets that the backend returned.",
    )?;
    let flows = gauge("balancer_backend_flows", "Remembered flows.")?;
    let up = gauge(
        "balancer_backend_up",
        "1 if the backend is up or nothing is known of it yet, 0 if it is down.",
    )?;
    let hot = gauge(
        "balancer_backend_hot",
        "1 if the backend carries well more than its share of the service's flows, else 0.",
    )?;
    let weight = gauge("balancer_backend_weight", "Configured weight.")?;
    let share = GaugeVec::new(
        Opts::new("balancer_backend_share_ratio", "Share of new clients, 0 to 1."),
        &labels,
    )?;
    registry.register(Box::new(share.clone()))?;
    for backend in backends {
        let labels = [backend.service.as_str(), backend.name.as_str()];
        packets.with_label_values(&labels).inc_by(backend.packets);
        bytes.with_label_values(&labels).inc_by(backend.bytes);
        new_flows.with_label_values(&labels).inc_by(backend.new_flows);
        reply_packets.with_label_values(&labels).inc_by(backend.reply_packets);
        reply_bytes.with_label_values(&labels).inc_by(backend.reply_bytes);
        flows.with_label_values(&labels).set(signed(backend.flows));
        up.with_label_values(&labels)
            .set(i64::from(backend.health != Health::Down));
        hot.with_label_values(&labels).set(i64::from(backend.hot));
        weight.with_label_values(&labels).set(i64::from(backend.weight));
        share.with_label_values(&labels).set(backend.share);
    }
    Ok(())
}

fn data_plane(registry: &Registry, snapshot: &Snapshot) -> prometheus::Result<()> {
    let drops = counters(
        registry,
        "balancer_drops_total",
        "Dropped packets by reason.",
        &["reason"],
    )?;
    for (reason, count) in &snapshot.drops {
        drops.with_label_values(&[reason.label()]).inc_by(*count);
    }
    let status = &snapshot.status;
    let gauge = |name: &str, help: &str, value: u64| {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(signed(value));
        registry.register(Box::new(gauge))
    };
    gauge(
        "balancer_flow_table_entries",
        "Remembered flows.",
        status.dataplane.flows,
    )?;
    gauge(
        "balancer_flow_table_capacity",
        "Flows that there is room for.",
        u64::from(status.dataplane.max_flows),
    )?;
    gauge(
        "balancer_table_generation",
        "Changes that were made to the data plane.",
        status.dataplane.generation,
    )?;
    let evictions = IntCounter::new(
        "balancer_flow_table_evictions_total",
        "Flows that were forgotten to make room for others.",
    )?;
    evictions.inc_by(snapshot.evictions);
    registry.register(Box::new(evictions))?;
    let build = gauges(
        registry,
        "balancer_build_info",
        "The daemon's build; always 1.",
        &["version"],
    )?;
    build.with_label_values(&[status.version.as_str()]).set(1);
    Ok(())
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// A count as a gauge's value; none of them comes near the limit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! What the daemon itself counts.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricFamily};

/// Upper bounds of a probe's duration, in seconds: from one on the same host to one that nearly times out.
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Upper bounds of the time that a table takes to be built, in seconds: from a small one to the largest.
const BUILD_BUCKETS: [f64; 7] = [0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.02, 0.1];

/// Counters and durations of the daemon's own work.
pub struct DaemonMetrics {
    registry: Registry,
    probes: IntCounterVec,
    probe_durations: HistogramVec,
    table_builds: Histogram,
    reloads: IntCounterVec,
}

impl DaemonMetrics {
    /// Nothing counted yet.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let probes = IntCounterVec::new(
            Opts::new("balancer_backend_health_checks_total", "Health probes by result."),
            &["service", "backend", "result"],
        )?;
        let probe_durations = HistogramVec::new(
            HistogramOpts::new(
                "balancer_backend_health_check_duration_seconds",
                "Duration of health probes.",
            )
            .buckets(PROBE_BUCKETS.to_vec()),
            &["service", "backend"],
        )?;
        let table_builds = Histogram::with_opts(
            HistogramOpts::new(
                "balancer_table_build_duration_seconds",
                "Time that building a Maglev table took.",
            )
            .buckets(BUILD_BUCKETS.to_vec()),
        )?;
        let reloads = IntCounterVec::new(
            Opts::new(
                "balancer_config_reloads_total",
                "Readings of the configuration by result.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(probe_durations.clone()))?;
        registry.register(Box::new(table_builds.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        Ok(Self {
            registry,
            probes,
            probe_durations,
            table_builds,
            reloads,
        })
    }

    /// Counts a health probe.
    pub fn observe_probe(&self, service: &str, backend: &str, succeeded: bool, duration: Duration) {
        let result = if succeeded { "success" } else { "failure" };
        self.probes.with_label_values(&[service, backend, result]).inc();
        self.probe_durations
            .with_label_values(&[service, backend])
            .observe(duration.as_secs_f64());
    }

    /// Notes how long building a Maglev table took.
    pub fn observe_table_build(&self, duration: Duration) {
        self.table_builds.observe(duration.as_secs_f64());
    }

    /// Counts a reading of the configuration.
    pub fn count_reload(&self, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.reloads.with_label_values(&[result]).inc();
    }

    /// The families.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

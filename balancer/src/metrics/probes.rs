//! Figures of the health probes, which the daemon itself counts.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricFamily};

/// Upper bounds of the duration buckets, in seconds: from a probe on the same host to one that nearly times out.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Counts and durations of probes.
pub struct ProbeMetrics {
    registry: Registry,
    checks: IntCounterVec,
    durations: HistogramVec,
}

impl ProbeMetrics {
    /// Nothing counted yet.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let checks = IntCounterVec::new(
            Opts::new("balancer_backend_health_checks_total", "Health probes by result."),
            &["service", "backend", "result"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "balancer_backend_health_check_duration_seconds",
                "Duration of health probes.",
            )
            .buckets(BUCKETS.to_vec()),
            &["service", "backend"],
        )?;
        registry.register(Box::new(checks.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self {
            registry,
            checks,
            durations,
        })
    }

    /// Counts a probe.
    pub fn observe(&self, service: &str, backend: &str, succeeded: bool, duration: Duration) {
        let result = if succeeded { "success" } else { "failure" };
        self.checks.with_label_values(&[service, backend, result]).inc();
        self.durations
            .with_label_values(&[service, backend])
            .observe(duration.as_secs_f64());
    }

    /// The families.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

//! What the daemon itself counts.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricFamily};

use crate::controller::BackendKey;

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
    /// The backends whose probes are counted.
    probed: Mutex<HashSet<BackendKey>>,
}

/// Values of the label `result`.
const RESULTS: [&str; 2] = ["success", "failure"];

/// The value of the label `result` that stands for what came of something.
const fn result(succeeded: bool) -> &'static str {
    RESULTS[if succeeded { 0 } else { 1 }]
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
        for result in RESULTS {
            reloads.with_label_values(&[result]);
        }
        Ok(Self {
            registry,
            probes,
            probe_durations,
            table_builds,
            reloads,
            probed: Mutex::default(),
        })
    }

    /// Shows the probes of these backends, from zero on if they are new, and forgets those of others.
    pub(crate) fn follow(&self, backends: HashSet<BackendKey>) {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        for (service, backend) in &backends {
            for result in RESULTS {
                self.probes.with_label_values(&[service, backend, result]);
            }
            self.probe_durations.with_label_values(&[service, backend]);
        }
        let before = mem::replace(&mut *probed, backends);
        for (service, backend) in before.difference(&probed) {
            for result in RESULTS {
                // All of them have been there since it was followed.
                let _removed = self.probes.remove_label_values(&[service, backend, result]);
            }
            let _removed = self.probe_durations.remove_label_values(&[service, backend]);
        }
    }

    /// Counts a health probe, unless nobody wants to know any more.
    pub fn observe_probe(&self, service: &str, backend: &str, succeeded: bool, duration: Duration) {
        let probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if !probed.contains(&(service.to_owned(), backend.to_owned())) {
            return;
        }
        self.probes
            .with_label_values(&[service, backend, result(succeeded)])
            .inc();
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
        self.reloads.with_label_values(&[result(succeeded)]).inc();
    }

    /// The families.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of probes, without their values, and those that are not zero with them.
    fn probes(metrics: &DaemonMetrics) -> (usize, Vec<String>) {
        let families = metrics.families();
        let family = families
            .iter()
            .find(|family| family.name() == "balancer_backend_health_checks_total");
        let samples: Vec<_> = family.map_or(&[][..], |family| family.get_metric()).to_vec();
        let counted = samples.iter().filter(|sample| sample.get_counter().get_value() > 0.0);
        let shown = counted.map(|sample| {
            let labels: Vec<_> = sample
                .get_label()
                .iter()
                .map(prometheus::proto::LabelPair::value)
                .collect();
            format!("{} {}", labels.join(" "), sample.get_counter().get_value())
        });
        (samples.len(), shown.collect())
    }

    #[test]
    fn probes_are_shown_from_zero_on_and_only_of_backends_that_are_there() {
        let metrics = DaemonMetrics::new().unwrap();
        let keys = |names: &[&str]| {
            names
                .iter()
                .map(|name| ("web".to_owned(), (*name).to_owned()))
                .collect()
        };
        metrics.follow(keys(&["b1", "b2"]));
        assert_eq!(probes(&metrics), (4, vec![]));
        metrics.observe_probe("web", "b1", false, Duration::ZERO);
        metrics.follow(keys(&["b1"]));
        // One that was just ending.
        metrics.observe_probe("web", "b2", true, Duration::ZERO);
        assert_eq!(probes(&metrics), (2, vec!["b1 failure web 1".to_owned()]));
    }
}

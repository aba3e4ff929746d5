//! What the daemon itself counts.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    exposition::{Exposition, Kind, Labels},
    histogram::{Bound, Histogram},
    kept::{Kept, KeptProbes},
};
use crate::controller::BackendKey;

/// Upper bounds of a probe's duration, in seconds: from one on the same host to one that nearly times out. Each is a line for every
/// backend, of which there may be a hundred thousand.
const PROBE_BOUNDS: [Bound; 6] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.02, "0.02"),
    (0.1, "0.1"),
    (0.5, "0.5"),
    (2.0, "2"),
];

/// Upper bounds of the time that a table takes to be built, in seconds: from a small one to the largest.
const BUILD_BOUNDS: [Bound; 7] = [
    (0.000_1, "0.0001"),
    (0.000_5, "0.0005"),
    (0.001, "0.001"),
    (0.002, "0.002"),
    (0.005, "0.005"),
    (0.02, "0.02"),
    (0.1, "0.1"),
];

/// Counters and durations of the daemon's own work. They go on where an earlier daemon's ended.
pub struct DaemonMetrics {
    probes: RwLock<HashMap<BackendKey, Arc<Probes>>>,
    table_builds: Histogram<7>,
    reloads: Results,
    /// Of backends that have not been followed yet.
    earlier: Mutex<HashMap<BackendKey, KeptProbes>>,
    /// Where everything is kept; locked while it is written.
    file: Mutex<PathBuf>,
}

/// The probes of one backend.
struct Probes {
    results: Results,
    durations: Histogram<6>,
}

/// How often something has succeeded, and failed.
#[derive(Default)]
struct Results([AtomicU64; 2]);

/// Values of the label `result`.
const RESULTS: [&str; 2] = ["success", "failure"];

impl Results {
    fn new(counts: [u64; 2]) -> Self {
        Self(counts.map(AtomicU64::new))
    }

    fn count(&self, succeeded: bool) {
        let [success, failure] = &self.0;
        let counter = if succeeded { success } else { failure };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; 2] {
        self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl DaemonMetrics {
    /// Goes on from what is kept in `file`.
    pub fn open(file: PathBuf) -> Self {
        let kept = Kept::read(&file);
        Self {
            probes: RwLock::default(),
            table_builds: Histogram::new(&BUILD_BOUNDS, &kept.table_builds),
            reloads: Results::new(kept.reloads),
            earlier: Mutex::new(kept.probes.into_iter().collect()),
            file: Mutex::new(file),
        }
    }

    /// Keeps everything, so that no later daemon tells less than what is returned.
    pub(super) fn keep(&self) -> Kept {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.figures();
        if let Err(error) = kept.write(&file) {
            tracing::warn!("the next daemon counts from what was kept before: {error:#}");
        }
        kept
    }

    fn figures(&self) -> Kept {
        let probes = self.probes.read().unwrap_or_else(PoisonError::into_inner);
        let probes = probes.iter().map(|(backend, probes)| {
            let kept = KeptProbes {
                results: probes.results.counts(),
                durations: probes.durations.figures(),
            };
            (backend.clone(), kept)
        });
        Kept {
            reloads: self.reloads.counts(),
            table_builds: self.table_builds.figures(),
            probes: probes.collect(),
        }
    }

    /// Shows the probes of these backends, from zero on if they are new, and forgets those of others.
    pub(crate) fn follow(&self, backends: &HashSet<BackendKey>) {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let mut probes = self.probes.write().unwrap_or_else(PoisonError::into_inner);
        probes.retain(|backend, _| backends.contains(backend));
        for backend in backends {
            probes.entry(backend.clone()).or_insert_with(|| {
                let kept = earlier.remove(backend).unwrap_or_default();
                Arc::new(Probes {
                    results: Results::new(kept.results),
                    durations: Histogram::new(&PROBE_BOUNDS, &kept.durations),
                })
            });
        }
        // What was kept of others has ended with them.
        earlier.clear();
    }

    /// Counts a health probe, unless nobody wants to know any more.
    pub fn observe_probe(&self, backend: &BackendKey, succeeded: bool, duration: Duration) {
        let probes = self.probes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(probes) = probes.get(backend) {
            probes.results.count(succeeded);
            probes.durations.observe(duration);
        }
    }

    /// Notes how long building a Maglev table took.
    pub fn observe_table_build(&self, duration: Duration) {
        self.table_builds.observe(duration);
    }

    /// Counts a reading of the configuration.
    pub fn count_reload(&self, succeeded: bool) {
        self.reloads.count(succeeded);
    }
}

/// Writes the families.
pub(super) fn write(exposition: &mut Exposition, kept: &Kept) {
    let name = "balancer_backend_health_checks_total";
    let mut family = exposition.family(Kind::Counter, name, "Health probes by result.");
    for ((service, backend), probes) in &kept.probes {
        for (result, count) in RESULTS.into_iter().zip(probes.results) {
            let labels = Labels::new([("backend", backend), ("result", result), ("service", service)]);
            family.sample(&labels, count);
        }
    }
    let name = "balancer_backend_health_check_duration_seconds";
    let mut family = exposition.family(Kind::Histogram, name, "Duration of health probes.");
    for ((service, backend), probes) in &kept.probes {
        let labels = Labels::new([("backend", backend), ("service", service)]);
        probes.durations.write(&PROBE_BOUNDS, &mut family, &labels);
    }
    let name = "balancer_table_build_duration_seconds";
    let mut family = exposition.family(Kind::Histogram, name, "Time that building a Maglev table took.");
    kept.table_builds.write(&BUILD_BOUNDS, &mut family, &Labels::NONE);
    let name = "balancer_config_reloads_total";
    let mut family = exposition.family(Kind::Counter, name, "Readings of the configuration by result.");
    for (result, count) in RESULTS.into_iter().zip(kept.reloads) {
        family.sample(&Labels::new([("result", result)]), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of probes by result.
    fn probes(metrics: &DaemonMetrics) -> Vec<String> {
        let text = Exposition::text_of(|exposition| write(exposition, &metrics.figures()));
        let samples = text
            .lines()
            .filter_map(|line| line.strip_prefix("balancer_backend_health_checks_total{"));
        let mut samples: Vec<_> = samples.map(str::to_owned).collect();
        samples.sort_unstable();
        samples
    }

    fn key(backend: &str) -> BackendKey {
        ("web".to_owned(), backend.to_owned())
    }

    fn sample(backend: &str, result: &str, count: u64) -> String {
        format!("backend=\"{backend}\",result=\"{result}\",service=\"web\"}} {count}")
    }

    #[test]
    fn probes_are_shown_from_zero_on_and_only_of_backends_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = DaemonMetrics::open(directory.path().join("metrics"));
        metrics.follow(&["b1", "b2"].map(key).into());
        let zero = ["b1", "b2"].map(|backend| ["failure", "success"].map(|result| sample(backend, result, 0)));
        assert_eq!(probes(&metrics), zero.concat());
        metrics.observe_probe(&key("b1"), false, Duration::ZERO);
        metrics.follow(&[key("b1")].into());
        // One that was just ending.
        metrics.observe_probe(&key("b2"), true, Duration::ZERO);
        assert_eq!(
            probes(&metrics),
            [sample("b1", "failure", 1), sample("b1", "success", 0)]
        );
    }

    #[test]
    fn what_is_kept_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics");
        let metrics = DaemonMetrics::open(file.clone());
        metrics.follow(&["b1", "b2"].map(key).into());
        metrics.observe_probe(&key("b1"), true, Duration::from_millis(3));
        metrics.observe_probe(&key("b2"), true, Duration::from_millis(3));
        metrics.observe_table_build(Duration::from_millis(1));
        metrics.count_reload(false);
        metrics.keep();
        let text = |metrics: &DaemonMetrics| {
            let text = Exposition::text_of(|exposition| write(exposition, &metrics.figures()));
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let next = DaemonMetrics::open(file);
        next.follow(&["b1", "b2"].map(key).into());
        assert_eq!(text(&next), text(&metrics));
        // A backend that goes and comes back is another one.
        next.follow(&[key("b1")].into());
        next.follow(&["b1", "b2"].map(key).into());
        assert!(probes(&next).contains(&sample("b1", "success", 1)));
        assert!(probes(&next).contains(&sample("b2", "success", 0)));
    }
}

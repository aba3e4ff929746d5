//! Slow start: a backend that begins to serve reaches its share of new clients in steps.
//!
//! Within `slow_start` its weight grows by equal steps, the first at once. Only weights change with time, so hosts that
//! follow the same steps build the same tables.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    config::{Config, Service},
    intent::Endpoint,
    reconcile::{Desired, DesiredBackend, DesiredService},
};

/// Steps from nothing to the full weight.
const STEPS: u32 = 20;

type Key = (String, Endpoint);

/// Who serves, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowStart {
    /// Backends that take new clients, of services that start slowly; `None` before the first look.
    serving: Option<HashSet<Key>>,
    /// When those of them began that did so since the first look.
    began: HashMap<Key, Instant>,
}

impl SlowStart {
    /// Notes who takes new clients by `desired`, which is made of `config`. Who does at the first look is in full swing:
    /// a daemon that is restarted moves no client.
    pub(super) fn follow(&mut self, config: &Config, desired: &Desired, now: Instant) {
        let serving: HashSet<Key> = slow(config, desired)
            .flat_map(|(service, desired)| pairs(service, desired))
            .filter(|(_, backend)| backend.takes_clients())
            .map(|(key, _)| key)
            .collect();
        self.began.retain(|key, _| serving.contains(key));
        if let Some(before) = &self.serving {
            let new = serving.iter().filter(|key| !before.contains(*key));
            self.began.extend(new.map(|key| (key.clone(), now)));
        }
        self.serving = Some(serving);
    }

    /// Gives the backends of `desired`, which is made of `config`, the weights of this moment.
    pub(super) fn scale(&self, config: &Config, desired: &mut Desired, now: Instant) {
        for (service, desired) in config.services.iter().zip(&mut desired.services) {
            let steps: Vec<u32> = pairs(service, desired)
                .map(|(key, _)| self.step(&key, service.slow_start, now))
                .collect();
            if steps.iter().all(|&step| step == STEPS) {
                continue;
            }
            for (backend, step) in desired.backends.iter_mut().zip(steps) {
                backend.weight *= step;
            }
        }
    }

    /// When the next weight changes, if any still does.
    pub(super) fn next_change(&self, config: &Config, now: Instant) -> Option<Instant> {
        let slow_start: HashMap<&str, Duration> = config
            .services
            .iter()
            .map(|service| (&*service.name, service.slow_start))
            .collect();
        let changes = self.began.iter().filter_map(|(key, began)| {
            let slow_start = *slow_start.get(&*key.0)?;
            let step = step(now.saturating_duration_since(*began), slow_start);
            (step < STEPS).then(|| *began + slow_start * step / STEPS)
        });
        changes.min()
    }

    fn step(&self, key: &Key, slow_start: Duration, now: Instant) -> u32 {
        let began = self.began.get(key);
        began.map_or(STEPS, |began| step(now.saturating_duration_since(*began), slow_start))
    }
}

/// The step, from 1 to [`STEPS`], of a backend that began to serve a while ago.
fn step(since: Duration, slow_start: Duration) -> u32 {
    if since >= slow_start {
        return STEPS;
    }
    let passed = since.as_nanos() * u128::from(STEPS) / slow_start.as_nanos();
    u32::try_from(passed).map_or(STEPS, |passed| passed + 1)
}

fn slow<'a>(config: &'a Config, desired: &'a Desired) -> impl Iterator<Item = (&'a Service, &'a DesiredService)> {
    let services = config.services.iter().zip(&desired.services);
    services.filter(|(service, _)| !service.slow_start.is_zero())
}

fn pairs<'a>(service: &'a Service, desired: &'a DesiredService) -> impl Iterator<Item = (Key, &'a DesiredBackend)> {
    let backends = service.backends.iter().zip(&desired.backends);
    backends.map(|(backend, desired)| ((service.name.clone(), backend.into()), desired))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, controller::desired::desired, controller::knowledge::Knowledge, dataplane::TimerTick};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_weight_grows_in_equal_steps_from_the_first_moment() {
        for (seconds, expected) in [(0, 1), (1, 3), (5, 11), (9, 19), (10, STEPS), (11, STEPS)] {
            assert_eq!(step(SECOND * seconds, SECOND * 10), expected, "{seconds}");
        }
        assert_eq!(step(Duration::ZERO, Duration::ZERO), STEPS);
        assert_eq!(step(Duration::from_nanos(9_999_999_999), SECOND * 10), STEPS);
    }

    #[test]
    fn every_step_comes_and_none_is_left_out() {
        let slow_start = SECOND * 7;
        let mut steps: Vec<u32> = (0..7_000)
            .map(|ms| step(Duration::from_millis(ms), slow_start))
            .collect();
        assert!(steps.is_sorted());
        steps.dedup();
        assert_eq!(steps, (1..=STEPS).collect::<Vec<_>>());
    }

    /// A service with a slow start of 20 seconds, and another without.
    fn config(backends: &str) -> Config {
        let services = ["slow_start = '20s'", "slow_start = '0s'"].map(|setting| {
            let name = if setting.contains("20") { "slow" } else { "quick" };
            format!(
                "[[service]]\nname = '{name}'\naddress = '192.0.2.{}'\nports = [80]\n{setting}\n{backends}",
                name.len()
            )
        });
        let text = format!("version = 1\ndataplane.interfaces = ['eth0']\n{}", services.concat());
        config::parse(&text, "f").unwrap().config
    }

    const ONE: &str = "[[service.backend]]\naddress = '10.0.0.1'\nweight = 7\n";
    const TWO: &str = "[[service.backend]]\naddress = '10.0.0.2'\nweight = 5\n";

    /// The weights that the backends of the slow and of the quick service have now.
    fn weights(slow_start: &mut SlowStart, config: &Config, now: Instant) -> [Vec<u32>; 2] {
        let mut desired = desired(config, &Knowledge::default(), TimerTick::of_kernel().unwrap());
        slow_start.follow(config, &desired, now);
        slow_start.scale(config, &mut desired, now);
        let weights = |service: &DesiredService| service.backends.iter().map(|backend| backend.weight).collect();
        [weights(&desired.services[0]), weights(&desired.services[1])]
    }

    #[test]
    fn who_serves_at_the_start_does_so_in_full() {
        let mut slow_start = SlowStart::default();
        let (config, now) = (config(&format!("{ONE}{TWO}")), Instant::now());
        assert_eq!(weights(&mut slow_start, &config, now), [vec![7, 5], vec![7, 5]]);
        assert_eq!(slow_start.next_change(&config, now), None);
    }

    #[test]
    fn who_begins_later_reaches_its_share_in_steps() {
        let mut slow_start = SlowStart::default();
        let start = Instant::now();
        let config = |backends| config(backends);
        let (before, after) = (config(ONE), config(&format!("{ONE}{TWO}")));
        weights(&mut slow_start, &before, start);
        let began = start + SECOND * 100;
        for (seconds, expected) in [
            (0, [7 * STEPS, 5]),
            (1, [7 * STEPS, 10]),
            (18, [7 * STEPS, 95]),
            (19, [7, 5]),
        ] {
            let now = began + SECOND * seconds;
            let found = weights(&mut slow_start, &after, now);
            assert_eq!(found, [expected.to_vec(), vec![7, 5]], "{seconds}");
            let next = (seconds < 19).then(|| now + SECOND);
            assert_eq!(slow_start.next_change(&after, now), next, "{seconds}");
        }
    }

    #[test]
    fn who_pauses_begins_anew() {
        let mut slow_start = SlowStart::default();
        let start = Instant::now();
        let both = config(&format!("{ONE}{TWO}"));
        let drained = config(&format!("{ONE}{TWO}admin = 'draining'\n"));
        weights(&mut slow_start, &both, start);
        assert_eq!(weights(&mut slow_start, &drained, start)[0], [7, 0]);
        let again = start + SECOND * 5;
        assert_eq!(weights(&mut slow_start, &both, again)[0], [7 * STEPS, 5]);
        // A second pause in the middle of the first start.
        weights(&mut slow_start, &drained, again + SECOND * 10);
        assert_eq!(slow_start.next_change(&drained, again + SECOND * 10), None);
        assert_eq!(weights(&mut slow_start, &both, again + SECOND * 11)[0], [7 * STEPS, 5]);
    }
}

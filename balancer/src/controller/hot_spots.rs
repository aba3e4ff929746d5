//! Hot spots: backends whose share of their service's live flows is well above what the table gives them.
//!
//! Large groups of clients behind one address, long connections, or a backend that others have fled to make one. Chance
//! alone must not: few flows are never spread evenly.

use std::collections::HashSet;

use super::{BackendKey, Controller, desired};
use crate::{control::protocol::EventKind, dataplane::FlowCounts};

/// How many times its share a backend must carry to become a hot spot.
const BECOMES: f64 = 1.5;
/// How many times its share a hot spot must still carry to remain one.
const REMAINS: f64 = 1.25;
/// How many standard deviations above its share a load is taken for more than chance.
const DEVIATIONS: f64 = 4.0;

/// What a backend is meant to carry and what it does.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Its share of new clients, 0 to 1.
    share: f64,
    /// Its live flows.
    flows: u64,
    /// Whether it has been a hot spot.
    hot: bool,
}

/// Which backends of a service are hot spots. Those that get no new clients are none, and their flows don't count.
fn judge(loads: &[Load]) -> Vec<bool> {
    let total = serving_flows(loads);
    loads.iter().map(|load| is_hot(*load, total)).collect()
}

/// The flows of the backends that get new clients.
fn serving_flows(loads: &[Load]) -> u64 {
    let serving = loads.iter().filter(|load| load.share > 0.0);
    serving.map(|load| load.flows).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a host has far fewer than 2^52 flows")]
fn is_hot(load: Load, total: u64) -> bool {
    let (flows, total) = (load.flows as f64, total as f64);
    let expected = total * load.share;
    // Of a binomial distribution: each flow is one of this backend's with the probability `share`.
    let deviation = (expected * (1.0 - load.share)).sqrt();
    let factor = if load.hot { REMAINS } else { BECOMES };
    load.share > 0.0 && flows > expected * factor && flows > expected + DEVIATIONS * deviation
}

impl Controller {
    /// Marks the hot spots among the backends, given the live flows.
    pub(super) fn find_hot_spots(&mut self, flows: &FlowCounts) {
        let known = &self.dataplane.state().index;
        let mut hot = HashSet::new();
        let mut changes: Vec<(EventKind, BackendKey, String)> = Vec::new();
        for service in &self.intent.running.services {
            let backends = service.backends.iter();
            let backends: Vec<_> = backends
                .filter_map(|backend| Some((backend, desired::backend_index(known, service, backend)?)))
                .collect();
            let load = |index: u32| Load {
                share: self.dataplane.share(index),
                flows: self.flows_of_index(index, flows),
                hot: self.hot.contains(&index),
            };
            let loads: Vec<_> = backends.iter().map(|(_, index)| load(*index)).collect();
            for (((backend, index), load), is_hot) in backends.iter().zip(&loads).zip(judge(&loads)) {
                if is_hot {
                    hot.insert(*index);
                }
                if is_hot != load.hot {
                    let kind = if is_hot { EventKind::Hot } else { EventKind::Even };
                    let key = (service.name.clone(), backend.name.clone());
                    changes.push((kind, key, cause(*load, &loads)));
                }
            }
        }
        self.hot = hot;
        for (kind, backend, cause) in changes {
            self.expect(kind, backend, cause);
        }
    }
}

/// What makes a backend a hot spot, or none any more.
#[expect(clippy::cast_precision_loss, reason = "a host has far fewer than 2^52 flows")]
fn cause(load: Load, loads: &[Load]) -> String {
    let carried = load.flows as f64 / serving_flows(loads).max(1) as f64;
    format!(
        "it carries {:.1} % of the live flows and is given {:.1} % of new clients",
        carried * 100.0,
        load.share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loads(shares: &[f64], flows: &[u64], hot: bool) -> Vec<Load> {
        let loads = shares.iter().zip(flows);
        loads.map(|(&share, &flows)| Load { share, flows, hot }).collect()
    }

    #[test]
    fn a_backend_well_above_its_share_is_a_hot_spot() {
        const THIRDS: [f64; 3] = [1.0 / 3.0; 3];
        // Shares, flows, whether all were hot before, and who is.
        let cases = [
            (THIRDS, [100, 100, 100], false, [false, false, false]),
            (THIRDS, [140, 80, 80], false, [false, false, false]),
            (THIRDS, [160, 70, 70], false, [true, false, false]),
            // Less makes it so no longer.
            (THIRDS, [140, 80, 80], true, [true, false, false]),
            (THIRDS, [120, 90, 90], true, [false, false, false]),
            // Few flows may fall anywhere.
            (THIRDS, [6, 0, 0], false, [false, false, false]),
            (THIRDS, [12, 0, 0], false, [true, false, false]),
            (THIRDS, [0, 0, 0], true, [false, false, false]),
            // What counts is what the table gives, not how many there are.
            ([0.8, 0.1, 0.1], [800, 100, 100], false, [false, false, false]),
            ([0.8, 0.1, 0.1], [600, 200, 200], false, [false, true, true]),
            // One that is drained, with many flows from before.
            ([0.0, 0.5, 0.5], [900, 50, 50], false, [false, false, false]),
        ];
        for (shares, flows, hot, expected) in cases {
            assert_eq!(
                judge(&loads(&shares, &flows, hot)),
                expected,
                "{shares:?} {flows:?} {hot}"
            );
        }
    }

    #[test]
    fn a_backend_alone_is_never_a_hot_spot() {
        assert_eq!(judge(&loads(&[1.0], &[1_000], true)), [false]);
    }

    proptest! {
        #[test]
        fn some_backend_is_never_a_hot_spot_and_more_flows_never_cool_one(
            flows in prop::collection::vec(0..10_000_u64, 1..20),
            hot: bool,
            more in 0..10_000_u64,
        ) {
            let share = 1.0 / f64::from(u32::try_from(flows.len()).unwrap());
            let shares = vec![share; flows.len()];
            let judged = judge(&loads(&shares, &flows, hot));
            prop_assert!(!judged.iter().all(|hot| *hot));
            let mut increased = flows;
            increased[0] += more;
            prop_assert!(!judged[0] || judge(&loads(&shares, &increased, hot))[0]);
        }
    }
}

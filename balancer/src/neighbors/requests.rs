//! Neighbours that the data plane has asked for, mostly clients and the gateways to them.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::table::Neighbor;

/// The data plane asks with every packet that it must drop; the kernel is asked once in this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// Neighbours remembered at once. The kernel's own table holds no more than that unless it is set to.
const CAPACITY: usize = 1_024;

/// The neighbours that have been asked for, and when each was last.
#[derive(Debug, Default)]
pub(super) struct Requests(HashMap<Neighbor, Instant>);

impl Requests {
    /// Whether a request for `neighbor` is to be passed on: not if that was done a moment ago, nor while too many others
    /// are under way. `is_known` says which neighbours have been resolved.
    pub(super) fn admit(&mut self, neighbor: Neighbor, is_known: impl Fn(Neighbor) -> bool, now: Instant) -> bool {
        if self.0.get(&neighbor).is_some_and(|&asked| now < asked + INTERVAL) {
            return false;
        }
        if self.0.len() >= CAPACITY {
            self.0
                .retain(|&neighbor, asked| is_known(neighbor) || now < *asked + INTERVAL);
        }
        let admitted = self.0.len() < CAPACITY || self.0.contains_key(&neighbor);
        if admitted {
            self.0.insert(neighbor, now);
        }
        admitted
    }

    /// The neighbours to be confirmed, as the packets that the data plane sends them do not count as use in the kernel.
    /// Forgets those that are not known: if they are still wanted, the data plane asks again.
    pub(super) fn renew(&mut self, is_known: impl Fn(Neighbor) -> bool) -> Vec<Neighbor> {
        self.0.retain(|&neighbor, _| is_known(neighbor));
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbor(number: usize) -> Neighbor {
        Neighbor {
            interface: 2,
            address: std::net::Ipv4Addr::from(u32::try_from(number).unwrap()).into(),
        }
    }

    #[test]
    fn repeated_requests_are_passed_on_once_in_the_interval() {
        let now = Instant::now();
        let mut requests = Requests::default();
        assert!(requests.admit(neighbor(1), |_| false, now));
        assert!(!requests.admit(neighbor(1), |_| false, now));
        assert!(requests.admit(neighbor(2), |_| false, now));
        assert!(requests.admit(neighbor(1), |_| false, now + INTERVAL));
    }

    #[test]
    fn a_flood_of_requests_is_cut_off_and_forgotten() {
        let now = Instant::now();
        let mut requests = Requests::default();
        for number in 0..CAPACITY {
            assert!(requests.admit(neighbor(number), |_| false, now));
        }
        assert!(!requests.admit(neighbor(CAPACITY), |_| false, now));
        let later = now + INTERVAL;
        assert!(requests.admit(neighbor(CAPACITY), |_| false, later));
    }

    #[test]
    fn a_flood_does_not_drive_out_neighbors_that_answered() {
        let now = Instant::now();
        let mut requests = Requests::default();
        for number in 0..=CAPACITY {
            requests.admit(neighbor(number), |_| false, now);
        }
        let later = now + INTERVAL;
        let is_known = |known| known == neighbor(7);
        requests.admit(neighbor(CAPACITY), is_known, later);
        assert_eq!(requests.renew(is_known), [neighbor(7)]);
    }

    #[test]
    fn only_neighbors_that_answered_are_confirmed() {
        let now = Instant::now();
        let mut requests = Requests::default();
        requests.admit(neighbor(1), |_| false, now);
        requests.admit(neighbor(2), |_| false, now);
        let is_known = |known| known == neighbor(1);
        assert_eq!(requests.renew(is_known), [neighbor(1)]);
        assert_eq!(requests.renew(|_| true), [neighbor(1)], "the other one is forgotten");
    }
}

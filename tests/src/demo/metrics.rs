//! The metrics endpoint as a scraper sees it.

use std::{collections::BTreeMap, str::FromStr};

use super::stage::Service;

/// One answer of the metrics endpoint, in the Prometheus text format.
pub(super) struct Scrape(String);

impl Scrape {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    /// The share of new clients that a backend gets; 0 if there is no such backend.
    pub(super) fn share(&self, service: Service, backend: &str) -> f64 {
        let sample = format!("balancer_backend_share_ratio{{backend=\"{backend}\",service=\"{service}\"}}");
        self.value(&sample).unwrap_or(0.0)
    }

    /// How many of a backend's health probes ended so; 0 before the first did.
    pub(super) fn probes(&self, service: Service, backend: &str, result: &str) -> u32 {
        let sample = format!(
            "balancer_backend_health_checks_total{{backend=\"{backend}\",result=\"{result}\",service=\"{service}\"}}"
        );
        self.value(&sample).unwrap_or(0)
    }

    /// Every drop counter, by its reason.
    pub(super) fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.0.lines().filter_map(|line| {
            let sample = line.strip_prefix("balancer_drops_total{reason=\"")?;
            let (reason, count) = sample.split_once("\"} ")?;
            Some((reason.to_owned(), count.parse().ok()?))
        });
        drops.collect()
    }

    fn value<T: FromStr>(&self, sample: &str) -> Option<T> {
        let mut values = self.0.lines().filter_map(|line| line.strip_prefix(sample));
        values.find_map(|rest| rest.strip_prefix(' ')?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_name_and_all_its_labels() {
        let scrape = Scrape::new(
            "# TYPE balancer_backend_share_ratio gauge\n\
             balancer_backend_share_ratio{backend=\"b1\",service=\"web\"} 0.333\n\
             balancer_backend_share_ratio{backend=\"b1\",service=\"web6\"} 0\n\
             balancer_backend_health_checks_total{backend=\"b1\",result=\"failure\",service=\"web\"} 3\n\
             balancer_drops_total{reason=\"fragment\"} 7\n\
             balancer_drops_total{reason=\"malformed\"} 0\n"
                .to_owned(),
        );
        let shares = [("b1", Service::Web), ("b1", Service::Web6), ("b0", Service::Web)];
        let shares = shares.map(|(backend, service)| scrape.share(service, backend));
        assert!(
            shares
                .iter()
                .zip([0.333, 0.0, 0.0])
                .all(|(share, expected)| share.total_cmp(&expected).is_eq())
        );
        assert_eq!(scrape.probes(Service::Web, "b1", "failure"), 3);
        assert_eq!(scrape.probes(Service::Web, "b1", "success"), 0);
        let drops = [("fragment".to_owned(), 7), ("malformed".to_owned(), 0)];
        assert_eq!(scrape.drops(), drops.into());
    }
}

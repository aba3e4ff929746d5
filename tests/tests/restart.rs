//! A daemon that is killed and started again goes on counting and knows who is up.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, eventually, get};
use rustix::process::Signal;
use serde_json::Value;

const BACKENDS: u8 = 3;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);

/// Everything that is exposed, by name and labels.
fn samples(balancer: &Balancer<'_>) -> BTreeMap<String, f64> {
    let metrics = balancer.scrape("/metrics").unwrap().text();
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let parse = |sample: &str| {
        let (name, value) = sample.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(parse).collect()
}

fn is_counter(sample: &str) -> bool {
    let name = sample.split('{').next().unwrap();
    ["_total", "_bucket", "_sum", "_count"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// Asserts that nothing has been taken back since `before`, and that every backend is up.
fn assert_goes_on(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) {
    for (sample, value) in before {
        let current = now.get(sample).unwrap_or_else(|| panic!("{sample} is gone"));
        assert!(
            !is_counter(sample) || current >= value,
            "{sample}: {current} after {value}"
        );
        assert!(
            !sample.starts_with("balancer_backend_up{") || *current > 0.5,
            "{sample}"
        );
    }
}

fn check_restart_after(signal: Signal) {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80])
        .backends(BACKENDS, 8080)
        .health("kind = \"http\"\npath = \"/health\"\ninterval = \"50ms\"\ntimeout = \"1s\"");
    let mut balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    for _ in 0..20 {
        get(&network.client, VIP, "/").unwrap();
    }
    let probes = "balancer_backend_health_checks_total{backend=\"b0\",result=\"success\",service=\"web\"}";
    let mut last = eventually("probes are counted", || {
        let samples = samples(&balancer);
        (samples[probes] >= 5.0).then_some(samples)
    });
    let new_flows = last["balancer_service_new_flows_total{service=\"web\"}"];
    assert!((new_flows - 20.0).abs() < 0.5, "{new_flows}");

    balancer.end(signal);
    balancer.run();
    let goal = last[probes] + 5.0;
    eventually("probes are counted on", || {
        let samples = samples(&balancer);
        assert_goes_on(&last, &samples);
        let reached = samples[probes] >= goal;
        last = samples;
        reached.then_some(())
    });
    let events: Vec<Value> = balancer.json(&["events"]);
    assert!(events.iter().all(|event| event["kind"] != "down"), "{events:?}");
}

#[test]
fn no_counter_goes_backwards_and_no_backend_is_down_after_the_daemon_was_killed() {
    check_restart_after(Signal::KILL);
}

#[test]
fn no_counter_goes_backwards_and_no_backend_is_down_after_the_daemon_was_stopped() {
    check_restart_after(Signal::TERM);
}

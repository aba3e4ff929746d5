//! What is in `deploy` for Prometheus and Grafana fits what the daemon exposes.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use balancer_tests::lab::{Arms, Balancer, Farm, HttpServer, Network, Prometheus, Service, eventually, get};
use serde_json::Value;

const BACKENDS: u8 = 3;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);
const DASHBOARDS: [&str; 3] = ["overview", "backend-health", "capacity"];

/// A service whose backends are probed often, with servers on all of them.
fn run(network: &Network) -> (Farm<HttpServer>, Balancer<'_>) {
    let servers = Farm::http(network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80])
        .backends(BACKENDS, 8080)
        .health("kind = \"http\"\npath = \"/health\"\ninterval = \"100ms\"\nunhealthy_threshold = 1")
        .passive("max_fails = 1000");
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    (servers, balancer)
}

/// A file of the repository's `deploy`.
fn deploy(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("deploy").join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `promtool` with `input`; it must find nothing to object to.
fn promtool(arguments: &[&str], input: &[u8]) -> Output {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    promtool.stdin.take().unwrap().write_all(input).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// The queries of a dashboard, where they stand, with the variables replaced by all that they can be.
fn queries(dashboard: &str) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&read(&deploy(&format!("grafana/{dashboard}.json")))).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut queries = Vec::new();
    for panel in list(&json["panels"]) {
        for target in list(&panel["targets"]) {
            queries.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in list(&json["templating"]["list"]) {
        if let Some(of) = variable["definition"].as_str() {
            let (series, label) = of.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
            let query = format!("count by ({}) ({series})", label.strip_suffix(')').unwrap());
            queries.push((variable["name"].to_string(), query));
        }
    }
    let replaced = queries.into_iter().map(|(place, query)| {
        let query = query.replace("$__rate_interval", "5s");
        let query = ["$instance", "$service", "$backend"]
            .into_iter()
            .fold(query, |query, variable| query.replace(variable, ".*"));
        assert!(
            !query.contains('$'),
            "{dashboard}, {place}: a variable is unknown: {query}"
        );
        (format!("{dashboard}, {place}"), query)
    });
    replaced.collect()
}

/// Whether a result has a number in it.
fn has_data(result: &[Value]) -> bool {
    let number = |series: &Value| series["value"][1].as_str()?.parse().ok();
    result.iter().filter_map(number).any(f64::is_finite)
}

#[test]
fn every_query_of_the_dashboards_returns_data_and_every_alert_can_be_evaluated() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (mut servers, balancer) = run(&network);
    let rules = deploy("prometheus/balancer-alerts.yml");
    let prometheus = Prometheus::start(&network.balancer, balancer.settings.metrics, &rules);
    // Some panels show what is down, others what a change costs.
    servers.kill(0);
    for dashboard in DASHBOARDS {
        let queries = queries(dashboard);
        assert!(queries.len() >= 10, "{dashboard}");
        for (place, query) in queries {
            eventually(&format!("{place}: {query}"), || {
                // While the backend is not found down yet, it refuses connections.
                let _refused = get(&network.client, VIP, "/");
                let result = prometheus
                    .query(&query)
                    .unwrap_or_else(|error| panic!("{place}: {query}: {error}"));
                has_data(&result).then_some(())
            });
        }
    }
    let rules = prometheus.rules();
    assert!(rules.len() >= 10);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for annotation in ["summary", "description", "runbook"] {
            assert!(rule["annotations"][annotation].is_string(), "{annotation} of {rule}");
        }
    }
}

#[test]
fn the_metrics_are_as_prometheus_would_have_them() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_servers, balancer) = run(&network);
    let metrics = balancer.scrape("/metrics").unwrap().body;
    let output = promtool(&["check", "metrics"], &metrics);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn every_alert_fires_on_the_history_that_it_is_for() {
    let (rules, tests) = ("prometheus/balancer-alerts.yml", "prometheus/balancer-alerts.test.yml");
    let [rules, tests] = [rules, tests].map(deploy);
    promtool(&["check", "rules", rules.to_str().unwrap()], b"");
    promtool(&["test", "rules", tests.to_str().unwrap()], b"");
    let tests = read(&tests);
    for line in read(&rules).lines() {
        if let Some((_, alert)) = line.split_once("alert: ") {
            assert!(
                tests.contains(&format!("alertname=\"{alert}\"")),
                "no test has {alert} fire"
            );
        }
    }
}

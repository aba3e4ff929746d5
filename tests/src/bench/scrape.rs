//! How long Prometheus waits for the metrics of a hundred thousand backends.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::{machine::Machine, output::Output, progress::Progress, statistics::Summary};
use crate::lab::{Arms, Balancer, Network, Service};

const SERVICES: u16 = 1_000;
const BACKENDS: u8 = 100;
const ALL: usize = SERVICES as usize * BACKENDS as usize;
/// How long all backends may take to be probed once.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    machine: Machine,
    services: u16,
    backends: usize,
    lines: usize,
    bytes: usize,
    milliseconds: Summary,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("scrape");
    progress.show("starting with 100,000 backends");
    let network = Network::new(Arms::Two, 1);
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    balancer.settings.max_backends = 110_000;
    balancer.configure(&services(&network));
    balancer.run();
    progress.show("probing each of them once");
    await_probes(&balancer)?;

    progress.show("scraping");
    let (mut lines, mut bytes) = (0, 0);
    let mut scrapes = Vec::new();
    for _ in 0..rounds {
        let asked = Instant::now();
        let reply = balancer.scrape("/metrics")?;
        scrapes.push(asked.elapsed());
        lines = reply.text().lines().count();
        bytes = reply.body.len();
        ensure!(lines > ALL * 20, "{lines} lines are too few");
    }
    drop(progress);
    let report = Report {
        benchmark: "scrape",
        machine: Machine::this(),
        services: SERVICES,
        backends: ALL,
        lines,
        bytes,
        milliseconds: Summary::of(scrapes.iter().map(|scrape| scrape.as_secs_f64() * 1e3)),
    };
    let Summary { median, minimum, .. } = report.milliseconds;
    println!(
        "{SERVICES} services × {BACKENDS} backends: {lines} lines, {} MB in {median:.0} ms (median), {minimum:.0} ms (minimum)",
        bytes / 1_000_000
    );
    println!("{}", report.machine.describe());
    output.json("scrape", &report)
}

/// Services whose backends are addresses of one host, where nobody listens.
fn services(network: &Network) -> String {
    for backend in 0..BACKENDS {
        network.backends[0].ip(&format!("address add 10.2.0.{}/24 dev eth0", 100 + backend));
    }
    let mut services = String::new();
    for number in 0..SERVICES {
        let mut service = Service::tcp(&format!("service-{number}"), Network::VIP, &[10_000 + number])
            .health("kind = \"tcp\"\ninterval = \"1h\"\ntimeout = \"1s\"");
        for backend in 0..BACKENDS {
            let address = format!("10.2.0.{}:{}", 100 + backend, 10_000 + number);
            service = service.backend(&format!("backend-{backend}"), &address);
        }
        let text = service.to_string().replace("protocol", "maglev_size = 1009\nprotocol");
        services.write_str(&text).expect("a string takes everything");
    }
    services
}

/// Waits until each backend has been probed: then the figures that are scraped are there, and nothing else is going on.
fn await_probes(balancer: &Balancer<'_>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // While all are being probed, an answer may take too long.
        let probed = balancer.scrape("/metrics").map_or(0, |reply| failures(&reply.text()));
        if probed >= ALL {
            return Ok(());
        }
        (Instant::now() < deadline)
            .then_some(())
            .with_context(|| format!("{probed} of {ALL} backends have been probed"))?;
    }
}

/// How many probes have failed, of all backends.
fn failures(metrics: &str) -> usize {
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("balancer_backend_health_checks_total{"));
    let failures = samples.filter(|line| line.contains("result=\"failure\""));
    failures
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

//! Real connections through namespaces, beside what else balances them: in turn, always next to the direct way.
//!
//! - `contender`: what balances.
//! - `server`, `client`: the two ends.

mod client;
mod contender;
mod server;

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

pub(super) use self::{
    client::{Done, Work, connect, exchange, exchange_once},
    contender::{Contender, Running},
    server::{PORT, serve},
};
use super::{
    chart::{Chart, Group},
    machine,
    output::Output,
    progress::Progress,
    report::Report,
    statistics::Summary,
    svg::Heading,
};
use crate::lab::{Arms, Network};

/// Clients at work at once.
const CLIENTS: usize = 4;
/// Connections that a backend serves at once.
const SERVED_AT_ONCE: usize = 16;
/// How long clients do one thing.
const TURN: Duration = Duration::from_secs(1);

/// One turn of a contender.
struct Turn {
    per_second: f64,
    p50: f64,
    p99: f64,
    /// Seconds of CPU that the whole machine used, for each thing done.
    cpu: f64,
    /// Likewise, for each packet on the client's cable.
    cpu_per_packet: f64,
}

/// What a contender made of one kind of work. Differences are to the direct turn just before.
#[derive(Debug, Serialize)]
struct Figure {
    contender: &'static str,
    work: &'static str,
    per_second: Summary,
    /// Of the direct way's.
    share_of_direct: Summary,
    p50_microseconds: Summary,
    p99_microseconds: Summary,
    added_p50_microseconds: Summary,
    cpu_microseconds: Summary,
    added_cpu_microseconds: Summary,
    cpu_seconds_per_million_packets: Summary,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("traffic");
    let network = Network::new(Arms::Two, 2);
    serve(&network, SERVED_AT_ONCE)?;
    reuse_ports(&network);
    let mut figures = Vec::new();
    for work in Work::ALL {
        for contender in &Contender::ALL[1..] {
            let mut pairs = Vec::new();
            for round in 0..rounds {
                progress.show(&format!(
                    "{}, {}: {} of {rounds}",
                    work.name(),
                    contender.name(),
                    round + 1
                ));
                let direct = turn(&network, Contender::Direct, work)?;
                pairs.push((direct, turn(&network, *contender, work)?));
            }
            if figures.iter().all(|figure: &Figure| figure.work != work.name()) {
                figures.push(Figure::of(Contender::Direct, work, &pairs, |pair| &pair.0));
            }
            figures.push(Figure::of(*contender, work, &pairs, |pair| &pair.1));
        }
    }
    drop(progress);
    show(&Report::new("traffic", rounds, figures), output)
}

/// Lets ports be used again at once: each connection uses up one for a minute otherwise.
pub(super) fn reuse_ports(network: &Network) {
    for host in [&network.client, &network.balancer] {
        host.sysctl("net.ipv4.tcp_tw_reuse", "1");
        host.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    }
}

fn turn(network: &Network, contender: Contender, work: Work) -> anyhow::Result<Turn> {
    let running = contender.start(network)?;
    let (cpu, packets) = (machine::cpu_seconds()?, packets(network));
    let done = work.run(&network.client, CLIENTS, contender.address(), TURN)?;
    let (cpu, packets) = (machine::cpu_seconds()? - cpu, self::packets(network) - packets);
    drop(running);
    let count = done.latencies.len();
    ensure!(
        count > 0 && done.failures * 100 < count,
        "{}: {} of {count} failed",
        contender.name(),
        done.failures
    );
    #[expect(clippy::cast_precision_loss, reason = "nobody does 2^52 things in a second")]
    let (number, packets) = (count as f64, packets as f64);
    Ok(Turn {
        per_second: number / done.duration.as_secs_f64(),
        p50: done.latencies[count / 2],
        p99: done.latencies[count * 99 / 100],
        cpu: cpu / number,
        cpu_per_packet: cpu / packets,
    })
}

/// How many packets have passed the client's interface, either way.
fn packets(network: &Network) -> u64 {
    let link = network.client.link("eth0");
    link.received + link.sent
}

impl Figure {
    fn of(contender: Contender, work: Work, pairs: &[(Turn, Turn)], turn: impl Fn(&(Turn, Turn)) -> &Turn) -> Self {
        let summary =
            |value: &dyn Fn(&Turn, &Turn) -> f64| Summary::of(pairs.iter().map(|pair| value(turn(pair), &pair.0)));
        Self {
            contender: contender.name(),
            work: work.name(),
            per_second: summary(&|turn, _| turn.per_second),
            share_of_direct: summary(&|turn, direct| turn.per_second / direct.per_second),
            p50_microseconds: summary(&|turn, _| turn.p50 * 1e6),
            p99_microseconds: summary(&|turn, _| turn.p99 * 1e6),
            added_p50_microseconds: summary(&|turn, direct| (turn.p50 - direct.p50) * 1e6),
            cpu_microseconds: summary(&|turn, _| turn.cpu * 1e6),
            added_cpu_microseconds: summary(&|turn, direct| (turn.cpu - direct.cpu) * 1e6),
            cpu_seconds_per_million_packets: summary(&|turn, _| turn.cpu_per_packet * 1e6),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            format!("{}: {}", self.work, self.contender),
            format!("{:.0}", self.per_second.median),
            format!("{:.2}", self.share_of_direct.median),
            format!("{:.0}", self.p50_microseconds.median),
            format!("{:.0}", self.p99_microseconds.median),
            format!("{:+.0}", self.added_p50_microseconds.median),
            format!("{:.0}", self.cpu_microseconds.median),
            format!("{:+.0}", self.added_cpu_microseconds.median),
            format!("{:.2}", self.cpu_seconds_per_million_packets.median),
        ]
    }
}

/// Prints, writes and draws it.
fn show(report: &Report<Figure>, output: &Output) -> anyhow::Result<()> {
    let header = [
        "medians",
        "per second",
        "of direct",
        "p50 µs",
        "p99 µs",
        "added p50",
        "CPU µs each",
        "added CPU",
        "CPU s / M packets",
    ];
    report.show(output, &header, Figure::row)?;
    let group = |contender: &Contender| {
        let value = |work: &Work| {
            let figure = report
                .figures
                .iter()
                .find(|figure| figure.contender == contender.name() && figure.work == work.name());
            figure.map(|figure| figure.share_of_direct.median)
        };
        Group {
            label: contender.name().to_owned(),
            values: Work::ALL.iter().map(value).collect(),
        }
    };
    let chart = Chart {
        heading: Heading {
            title: "Traffic through a balancer, as a share of the direct way's".to_owned(),
            subtitle: report.machine(),
            series: Work::ALL.map(|work| format!("{} per second", work.name())).to_vec(),
        },
        groups: Contender::ALL[1..].iter().map(group).collect(),
        mark: Some((1.0, "direct".to_owned())),
    };
    report.draw(output, &chart.svg())
}

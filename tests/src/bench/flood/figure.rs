//! What comes of a flood.

use std::time::Instant;

use serde::Serialize;

use super::{Round, contender::Running, generator::Sent};
use crate::{
    bench::{
        chart::{Chart, Group},
        machine,
        output::Output,
        report::Report,
        statistics::Summary,
        svg::Heading,
        traffic::Done,
    },
    lab::Network,
};

/// Counters, before a turn or after it.
pub(super) struct State {
    at: Instant,
    flows: f64,
    /// Packets of the flood that were met.
    flooded: u64,
    /// Seconds of CPU of this process: clients, servers and what floods.
    cpu: f64,
}

/// One turn.
pub(super) struct Turn {
    /// Connections with a request.
    per_second: f64,
    p50: f64,
    p99: f64,
    failures: usize,
    /// Connections that stood and broke.
    broken: usize,
    /// Packets of the flood that were sent and that were met, per second.
    sent: f64,
    met: f64,
    /// How much of its CPU the flood had, 0 to 1.
    flood_cpu: f64,
    /// Seconds of it for each packet that was met.
    cost: f64,
    /// Seconds of CPU for each connection, client and server together.
    cpu: f64,
    /// Flows that are remembered and were not before.
    flows: f64,
}

/// What clients got in turns of one kind.
#[derive(Debug, Serialize)]
struct Goodput {
    per_second: Summary,
    p50_milliseconds: Summary,
    p99_milliseconds: Summary,
    /// Connections that were not made or not answered.
    failures: usize,
    /// For each connection, client and server together.
    cpu_microseconds: Summary,
}

/// What a contender made of it.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    contender: String,
    sent_per_second: Summary,
    met_per_second: Summary,
    /// How much of its CPU the flood had, 0 to 1: less than all if something else runs on the machine.
    flood_cpu: Summary,
    /// What a packet of the flood cost its CPU: making it, balancing it, answering it, balancing the answer.
    cpu_nanoseconds_per_packet: Summary,
    calm: Goodput,
    flood_elsewhere: Goodput,
    flood_here: Goodput,
    /// Goodput with the flood here, of that without a flood.
    share_of_calm: Summary,
    /// Likewise, of that with the flood elsewhere.
    share_at_equal_cpu: Summary,
    live_flows_broken: usize,
    /// When their slots changed hands under the flood; nothing where that is not promised to be survived.
    live_flows_broken_by_change: Option<usize>,
    flows_remembered: Summary,
}

impl State {
    /// How it is now.
    pub(super) fn now(running: &Running<'_>, network: &Network) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            flows: number(running.flows()?),
            flooded: running.flooded(network),
            cpu: machine::process_seconds(),
        })
    }
}

impl Turn {
    /// What happened between two states.
    pub(super) fn new(done: &Done, broken: usize, sent: Sent, before: &State, after: &State) -> Self {
        let count = done.latencies.len();
        let seconds = (after.at - before.at).as_secs_f64();
        let met = number(after.flooded.wrapping_sub(before.flooded));
        Self {
            per_second: number(count as u64) / done.duration.as_secs_f64(),
            p50: done.latencies[count / 2],
            p99: done.latencies[count * 99 / 100],
            failures: done.failures,
            broken,
            sent: number(sent.frames) / seconds,
            met: met / seconds,
            flood_cpu: sent.cpu_seconds / seconds,
            cost: sent.cpu_seconds / met,
            cpu: (after.cpu - before.cpu - sent.cpu_seconds) / number(count as u64),
            flows: after.flows - before.flows,
        }
    }
}

impl Goodput {
    fn of(turns: &[&Turn]) -> Self {
        let summary = |value: fn(&Turn) -> f64| Summary::of(turns.iter().map(|turn| value(turn)));
        Self {
            per_second: summary(|turn| turn.per_second),
            p50_milliseconds: summary(|turn| turn.p50 * 1e3),
            p99_milliseconds: summary(|turn| turn.p99 * 1e3),
            failures: turns.iter().map(|turn| turn.failures).sum(),
            cpu_microseconds: summary(|turn| turn.cpu * 1e6),
        }
    }
}

impl Figure {
    /// Of a contender's turns: calm, with the flood elsewhere, and with the flood here.
    pub(super) fn of(contender: String, rounds: &[Round]) -> Self {
        let summary = |value: fn(&[Turn; 3]) -> f64| Summary::of(rounds.iter().map(|round| value(&round.turns)));
        let goodput = |kind: usize| Goodput::of(&rounds.iter().map(|round| &round.turns[kind]).collect::<Vec<_>>());
        Self {
            contender,
            sent_per_second: summary(|[_, _, here]| here.sent),
            met_per_second: summary(|[_, _, here]| here.met),
            flood_cpu: summary(|[_, _, here]| here.flood_cpu),
            cpu_nanoseconds_per_packet: summary(|[_, _, here]| here.cost * 1e9),
            calm: goodput(0),
            flood_elsewhere: goodput(1),
            flood_here: goodput(2),
            share_of_calm: summary(|[calm, _, here]| here.per_second / calm.per_second),
            share_at_equal_cpu: summary(|[_, elsewhere, here]| here.per_second / elsewhere.per_second),
            live_flows_broken: rounds
                .iter()
                .flat_map(|round| &round.turns)
                .map(|turn| turn.broken)
                .sum(),
            live_flows_broken_by_change: rounds.iter().map(|round| round.broken_by_change).sum(),
            flows_remembered: summary(|[_, _, here]| here.flows),
        }
    }

    /// Three lines: calm, with the flood elsewhere, and with the flood here.
    fn row(&self) -> Vec<String> {
        let each = |value: &dyn Fn(&Goodput) -> f64, digits: usize| {
            [&self.calm, &self.flood_elsewhere, &self.flood_here]
                .map(|goodput| format!("{:.digits$}", value(goodput)))
                .join("\n")
        };
        let here = |value: String| format!("\n\n{value}");
        vec![
            self.contender.clone(),
            "none\nelsewhere\nhere".to_owned(),
            here(format!("{:.0}", self.met_per_second.median)),
            here(format!("{:.0}", self.cpu_nanoseconds_per_packet.median)),
            each(&|goodput| goodput.per_second.median, 0),
            here(format!("{:.2}", self.share_of_calm.median)),
            here(format!("{:.2}", self.share_at_equal_cpu.median)),
            each(&|goodput| goodput.cpu_microseconds.median, 0),
            each(&|goodput| goodput.p50_milliseconds.median, 1),
            each(&|goodput| goodput.p99_milliseconds.median, 1),
            each(&|goodput| number(goodput.failures as u64), 0),
            here(self.live_flows_broken.to_string()),
            here(
                self.live_flows_broken_by_change
                    .map_or("–".to_owned(), |broken| broken.to_string()),
            ),
            here(format!("{:.0}", self.flows_remembered.median)),
        ]
    }
}

/// Prints, writes and draws it.
pub(super) fn show(report: &Report<Figure>, output: &Output) -> anyhow::Result<()> {
    let header = [
        "medians",
        "flood",
        "SYNs/s",
        "ns each",
        "connections/s",
        "of calm",
        "at equal CPU",
        "CPU µs each",
        "p50 ms",
        "p99 ms",
        "failed",
        "broken",
        "by change",
        "flows",
    ];
    report.show(output, &header, Figure::row)?;
    for figure in &report.figures {
        println!(
            "{}: the flood had {:.0} % of its CPU",
            figure.contender,
            figure.flood_cpu.median * 100.0
        );
    }
    let group = |figure: &Figure| Group {
        label: format!("{}: {:.1} M/s", figure.contender, figure.met_per_second.median / 1e6),
        values: vec![
            Some(figure.share_of_calm.median),
            Some(figure.share_at_equal_cpu.median),
        ],
    };
    let chart = Chart {
        heading: Heading {
            title: "Connections of real clients under a SYN flood".to_owned(),
            subtitle: format!("{}; SYNs per second that were met beside the name", report.machine()),
            series: vec![
                "share of those without a flood".to_owned(),
                "share of those with the flood elsewhere (equal CPU left over)".to_owned(),
            ],
        },
        groups: report.figures.iter().map(group).collect(),
        mark: Some((0.9, "0.9".to_owned())),
    };
    report.draw(output, &chart.svg())
}

#[expect(clippy::cast_precision_loss, reason = "counts of some seconds are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

//! How long the daemon's own work takes, from a decision to the first packet that follows it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use balancer::{
    maglev::{self, Candidate, TableSize},
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::abi::protocol::TCP;
use serde::Serialize;

use super::{failover::Failover, million, output::Output, progress::Progress, report::Report, statistics::Summary};
use crate::packet::{Host, Room, backend, service};

const SIZES: [u32; 2] = [65_537, 655_373];
const NUMBERS: [u32; 3] = [10, 1_000, 10_000];
/// Services that are there before the last one is added.
const SERVICES: u32 = 9_999;

/// What was measured, in milliseconds.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    milliseconds: Summary,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("control");
    let mut figures = Vec::new();
    let mut note = |what: &str, durations: &[Duration]| {
        figures.push(Figure {
            what: what.to_owned(),
            milliseconds: Summary::of(durations.iter().map(|duration| duration.as_secs_f64() * 1e3)),
        });
    };
    for slots in SIZES {
        for number in NUMBERS {
            progress.show(&format!("building {slots} slots for {number} backends"));
            note(
                &format!("build a table: {slots} slots, {number} backends"),
                &build(rounds, slots, number)?,
            );
        }
    }
    for (services, backends, affected) in [(1, 1_000, 1), (1_000, 100, 1), (1_000, 100, 1_000)] {
        let what = format!("{affected} of {services} services, one of {backends} backends down");
        progress.show(&what);
        let failover = Failover {
            services,
            backends,
            affected,
        };
        // All tables of all services are built anew twice in each round.
        let durations = failover.measure(if affected > 1 { rounds.min(3) } else { rounds })?;
        note(&format!("{what}: published, but for building"), &durations.publish);
        note(&format!("{what}: first packet elsewhere"), &durations.failover);
    }
    progress.show("adding a service to 9,999");
    note("add the 10,000th service", &add_service(rounds));
    progress.show("asking and changing while 1,000,000 flows are remembered");
    for (what, durations) in million::run(rounds)? {
        note(what, &durations);
    }
    drop(progress);

    Report::new("control", rounds, figures).show(output, &["ms", "median", "minimum"], |figure| {
        let Summary { median, minimum, .. } = figure.milliseconds;
        vec![figure.what.clone(), format!("{median:.3}"), format!("{minimum:.3}")]
    })
}

/// How long something takes, and what comes of it.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed(), result)
}

fn build(rounds: usize, slots: u32, number: u32) -> anyhow::Result<Vec<Duration>> {
    let size = TableSize::new(slots).context("the size is a prime")?;
    let candidates: Vec<Candidate> = (1..=number)
        .map(|number| Candidate {
            address: address(number).into(),
            port: 8080_u16.to_be_bytes(),
            weight: 100,
            value: number,
            serves: true,
        })
        .collect();
    Ok((0..rounds)
        .map(|_| timed(|| maglev::build(&candidates, size)).0)
        .collect())
}

fn add_service(rounds: usize) -> Vec<Duration> {
    let room = Room {
        services: SERVICES + 1,
        backends: SERVICES + 1,
        ..Room::default()
    };
    let numbered_service = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        service(
            &format!("service-{number}"),
            Ipv4Addr::new(100, a, b, c).into(),
            TCP,
            &[80],
            [numbered(number)],
        )
    };
    let mut durations = Vec::new();
    Host::run_with(room, |host| {
        host.serve((1..=SERVICES).map(numbered_service));
        for _ in 0..rounds {
            let all: Vec<DesiredService> = (1..=SERVICES + 1).map(numbered_service).collect();
            let (duration, ()) = timed(|| host.serve(all));
            durations.push(duration);
            host.serve((1..=SERVICES).map(numbered_service));
        }
    });
    durations
}

/// A backend with a number.
pub(super) fn numbered(number: u32) -> DesiredBackend {
    backend(SocketAddr::new(address(number), 8080))
}

/// Its address.
pub(super) fn address(number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 2, high, low).into()
}

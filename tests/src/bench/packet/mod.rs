//! Nanoseconds per packet in the program that is attached, for every way of forwarding and every kind of packet.
//!
//! - `setting`: what is measured.
//! - `sample`: packets.
//! - `harness`: runs programs on them.
//! - `report`: what comes of it.

mod harness;
mod report;
mod sample;
mod setting;

use anyhow::{Context as _, ensure};

pub(super) use self::{
    harness::{Harness, Subject},
    sample::Sample,
};
use self::{
    report::{Figure, Measured},
    setting::{Case, MAX_FLOWS, Setting},
};
use super::{machine, output::Output, progress::Progress, report::Report, statistics::Summary};
use crate::packet::{Host, Interface, Transport, address};

/// Packets in one measurement: a millisecond or so, shorter than most of what disturbs it.
const PACKETS: u32 = 20_000;

/// Runs the benchmark.
pub(super) fn run(rounds: usize, only: &str, output: &Output) -> anyhow::Result<()> {
    let settings: Vec<Setting> = Setting::all()
        .into_iter()
        .filter(|setting| setting.name().contains(only))
        .collect();
    ensure!(
        !settings.is_empty(),
        "there is nothing to measure that is called {only}"
    );
    let mut measured = Vec::new();
    let progress = Progress::new("packet");
    for (number, setting) in settings.iter().enumerate() {
        progress.show(&format!("{} of {}: {}", number + 1, settings.len(), setting.name()));
        let mut figures = None;
        Host::run_with_flows(MAX_FLOWS, |host| figures = Some(measure(host, *setting, rounds)));
        let figures = figures.context("the host has been played")?;
        measured.push((*setting, figures.with_context(|| setting.name())?));
    }
    drop(progress);
    report::show(&Report::new("packet", rounds, Measured::compare(measured)), output)
}

/// What is measured in each round, in turn, so that what disturbs the machine disturbs all alike.
struct Lap {
    name: &'static str,
    subject: Subject,
    sample: Sample,
    ingress: u32,
    nanoseconds: Vec<f64>,
}

fn measure(host: &mut Host<'_>, setting: Setting, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    machine::stay_on_one_cpu()?;
    setting.serve(host);
    know_clients(host);
    let mut harness = Harness::load(host.dataplane().program_id()?)?;

    let cases = setting.cases();
    for case in &cases {
        begin(&mut harness, case)?;
    }
    let mut figures = figures(&mut harness, cases, rounds)?;
    if let Some(case) = setting.overflow() {
        harness.run(Subject::Balancer, &case.sample, case.ingress, 2 * MAX_FLOWS)?;
        let with_floors = self::figures(&mut harness, vec![case], rounds)?;
        figures.extend(with_floors.into_iter().filter(|figure| !figure.is_floor));
    }
    Ok(figures)
}

/// Has the flows of a case begin, and their memory be in use.
fn begin(harness: &mut Harness, case: &Case) -> anyhow::Result<()> {
    if let Some(first) = &case.begun_by {
        harness.run(Subject::Balancer, first, Interface::BACKENDS.index, first.flows())?;
    }
    if case.begun_by.is_some() {
        harness.run(Subject::Balancer, &case.sample, case.ingress, case.sample.flows())?;
    }
    Ok(())
}

/// Measures cases beside the floors.
fn figures(harness: &mut Harness, cases: Vec<Case>, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let plain = Sample::request(Transport::ack(), address("192.0.2.10:80")).of_flows(64);
    let floors = [
        ("nothing", Subject::Nothing),
        ("MAC swap", Subject::Swap),
        ("stateless encapsulation", Subject::Encapsulation),
    ];
    let mut laps: Vec<Lap> = floors
        .map(|(name, subject)| (name, subject, plain.clone(), Interface::BACKENDS.index))
        .into_iter()
        .chain(
            cases
                .into_iter()
                .map(|case| (case.name, Subject::Balancer, case.sample, case.ingress)),
        )
        .map(|(name, subject, sample, ingress)| Lap {
            name,
            subject,
            sample,
            ingress,
            nanoseconds: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for lap in &mut laps {
            let nanoseconds = harness.run(lap.subject, &lap.sample, lap.ingress, PACKETS)?;
            lap.nanoseconds.push(nanoseconds);
        }
    }
    let summary = |lap: &Lap| Summary::of(lap.nanoseconds.iter().copied());
    let nothing = summary(&laps[0]);
    let net = |lap: &Lap| Figure {
        case: lap.name,
        is_floor: lap.subject != Subject::Balancer,
        nanoseconds: summary(lap).above(nothing),
    };
    Ok(laps[1..].iter().map(net).collect())
}

/// Gives the host its ways to clients.
fn know_clients(host: &Host<'_>) {
    for gateway in ["10.1.0.254", "fd00:1::fe"] {
        let gateway = gateway.parse().expect("it is an address");
        host.know_neighbor(Interface::CLIENTS, gateway, [2, 0, 0, 0, 0xcc, 2]);
        host.ip(&format!("route add default via {gateway}"));
    }
}

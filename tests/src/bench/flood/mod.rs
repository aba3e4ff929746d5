//! A flood of SYNs, and what it does to those who really want something.
//!
//! - `stage`: hosts, cables and CPUs.
//! - `generator`: floods.
//! - `contender`: what is flooded.
//! - `conntrack`: what the kernel remembers.
//! - `live`: connections that stand meanwhile.
//! - `figure`: what comes of it.

mod conntrack;
mod contender;
mod figure;
mod generator;
mod live;
mod stage;

use std::{thread, time::Duration};

use anyhow::{Context as _, ensure};

use self::{
    contender::{Contender, Running},
    figure::{Figure, State, Turn},
    generator::Sent,
    stage::{SERVICE, Stage},
};
use super::{output::Output, progress::Progress, report::Report, traffic::Work};

/// Clients at work at once.
const CLIENTS: usize = 100;
/// How long they work in one turn.
const TURN: Duration = Duration::from_secs(3);
/// How long connections are watched before a change of the table and after it.
const WATCH: Duration = Duration::from_secs(1);

/// Where the flood goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flood {
    /// There is none.
    None,
    /// To a host that has nothing to do with all this: its CPU is as busy, and the balancer has no part in it.
    Elsewhere,
    /// To the service.
    Here,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, only: &str, output: &Output) -> anyhow::Result<()> {
    // On a thread of its own, which is kept off the flood's CPU.
    let figures = thread::scope(|scope| {
        let measured = scope.spawn(|| measure(rounds, only));
        measured.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    figure::show(&Report::new("flood", rounds, figures?), output)
}

fn measure(rounds: usize, only: &str) -> anyhow::Result<Vec<Figure>> {
    let progress = Progress::new("flood");
    let mut stage = Stage::new()?;
    let contenders = Contender::ALL
        .into_iter()
        .filter(|contender| contender.name().contains(only));
    let mut played: Vec<(Contender, Vec<Round>)> = contenders.map(|contender| (contender, Vec::new())).collect();
    for round in 0..rounds {
        for (contender, rounds_played) in &mut played {
            progress.show(&format!("{}: {} of {rounds}", contender.name(), round + 1));
            rounds_played.push(play(&mut stage, *contender).with_context(|| contender.name())?);
        }
    }
    Ok(played
        .iter()
        .filter(|(_, rounds)| !rounds.is_empty())
        .map(|(contender, rounds)| Figure::of(contender.name(), rounds))
        .collect())
}

/// What comes of a contender in one round.
struct Round {
    /// Without a flood, with the flood elsewhere, and with the flood here.
    turns: [Turn; 3],
    /// Standing connections that broke when their slots changed hands under the flood; `None` where that is not promised.
    broken_by_change: Option<usize>,
}

/// A turn with each of the floods, and a change of the table, of a contender that has just been started.
fn play(stage: &mut Stage, contender: Contender) -> anyhow::Result<Round> {
    let Stage {
        network,
        generator,
        flooder,
        here,
        elsewhere,
        cpu,
        ..
    } = stage;
    let running = contender.start(network)?;
    let mut turn = |flood| {
        let target = match flood {
            Flood::None => None,
            Flood::Elsewhere => Some(&*elsewhere),
            Flood::Here => Some(&*here),
        };
        let mut connections = live::open(&network.client, SERVICE)?;
        let before = State::now(&running, network)?;
        let mut work = || {
            live::use_during(&mut connections, || {
                Work::Connections.run(&network.client, CLIENTS, SERVICE, TURN)
            })
        };
        let ((done, broken), sent) = match target {
            None => (work(), Sent::default()),
            Some(target) => generator.flood_during(flooder, *cpu, target, work)?,
        };
        let after = State::now(&running, network)?;
        let done = done?;
        ensure!(!done.latencies.is_empty(), "no client got an answer");
        Ok(Turn::new(&done, broken, sent, &before, &after))
    };
    let turns = [turn(Flood::None)?, turn(Flood::Elsewhere)?, turn(Flood::Here)?];
    let broken_by_change = match (&running, contender.keeps_flows()) {
        (Running::Balancer(balancer), true) => {
            let mut connections = live::open(&network.client, SERVICE)?;
            let watch = || {
                live::use_during(&mut connections, || {
                    thread::sleep(WATCH);
                    let changed = contender::take_most_slots(balancer);
                    thread::sleep(WATCH);
                    changed
                })
            };
            let ((changed, broken), _) = generator.flood_during(flooder, *cpu, here, watch)?;
            changed?;
            Some(broken)
        }
        _ => None,
    };
    Ok(Round {
        turns,
        broken_by_change,
    })
}

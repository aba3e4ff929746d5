//! A backend is drained, and taken back.

use std::time::Instant;

use anyhow::ensure;

use crate::demo::{
    attempt::{Attempt, answers},
    clients::Clients,
    judge,
    report::{Report, draw, say, table},
    stage::{NAMES, Service, Stage},
    stream,
};

/// The backend that is drained.
const LEAVER: usize = 2;

/// Connections to each service that are held open.
const HELD: usize = 12;

/// Newcomers before the drain, during it, and after it.
const NEWCOMERS: usize = 120;

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let leaver = NAMES[LEAVER];
    report.act(
        "A backend that is drained gets no new clients and keeps those that it has",
        &format!(
            "{HELD} connections to each service are held open and used while newcomers keep arriving. Then {leaver} is \
             drained, as before its maintenance, and after a while taken back."
        ),
    );
    let mut held = clients.regulars(HELD);
    for client in &mut held {
        client.hold()?;
        client.come()?;
    }
    let (newcomers, (said, drained, activating)) = stream::during(clients, &mut held, |stream| {
        stream.await_newcomers(NEWCOMERS)?;
        let said = order(stage, "drain", leaver)?;
        let drained = Instant::now();
        stream.await_newcomers(NEWCOMERS)?;
        let activating = Instant::now();
        order(stage, "activate", leaver)?;
        stream.await_newcomers(NEWCOMERS)?;
        Ok((said, drained, activating))
    })?;
    draw(&said);
    let of = |chosen: &dyn Fn(&&Attempt) -> bool| answers(newcomers.iter().filter(chosen));
    let before = of(&|attempt| attempt.ended <= drained);
    let during = of(&|attempt| attempt.began >= drained && attempt.ended <= activating);
    let after = of(&|attempt| attempt.ended > activating);
    table(
        ["backend", "newcomers before", "while it was drained", "after"],
        (0..NAMES.len()).map(|number| {
            let counts = [before, during, after].map(|answers| answers[number].to_string());
            let [before, during, after] = counts;
            [NAMES[number].to_owned(), before, during, after]
        }),
    );
    let kept: Vec<_> = held
        .iter()
        .filter(|client| client.attempts.first().map(Attempt::server) == Some(leaver))
        .collect();
    say(&format!("{} of the open connections were {leaver}'s.", kept.len()));
    report.claim(
        format!("{leaver} got no newcomer while it was drained, and some before and after"),
        judge::same(
            &(before[LEAVER] > 0, during[LEAVER], after[LEAVER] > 0),
            &(true, 0, true),
        ),
    );
    report.claim("No request of a newcomer failed", judge::all_answered(&newcomers));
    report.claim(
        format!("{leaver} went on serving its open connections"),
        judge::each(kept.iter().map(|client| judge::one_memory(&client.attempts))),
    );
    report.claim(
        "All open connections went on: same server, no request lost",
        judge::each(held.iter().map(|client| judge::one_memory(&client.attempts))),
    );
    Ok(())
}

/// Gives an order for a backend of each service; returns what was said to that.
fn order(stage: &Stage<'_>, verb: &str, backend: &str) -> anyhow::Result<String> {
    let mut said = Vec::new();
    for service in Service::ALL {
        let output = stage
            .balancer
            .command(&["backend", verb, &service.to_string(), backend]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "backend {verb} {service} {backend}: {complaint}"
        );
        said.push(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Ok(said.join("\n"))
}

//! The dead backend comes back.

use std::time::Instant;

use super::failover::{VICTIM, VICTIM_NAME};
use crate::demo::{
    attempt::{Attempt, answers},
    clients::{Clients, Regular},
    judge,
    report::{Report, say, table},
    stage::{HEALTHY_THRESHOLD, NAMES, Stage},
    stream,
    watch::Watch,
};

/// Newcomers after the backend is back.
const AFTER: usize = 150;

pub(in crate::demo) fn show(
    clients: &Clients<'_>,
    stage: &mut Stage<'_>,
    regulars: &mut [Regular<'_>],
    report: &mut Report,
) -> anyhow::Result<()> {
    report.act(
        "A backend that returns gets new clients again, and nobody moves",
        &format!(
            "{VICTIM_NAME}'s server is started again, with nothing in its memory, while newcomers keep arriving. It \
             gets its slots back after {HEALTHY_THRESHOLD} good probes in a row, not before. Clients that had been \
             moved stay where they are now: their flows are remembered."
        ),
    );
    let (newcomers, (started, back, watch)) = stream::during(clients, &mut [], |stream| {
        let mut watch = Watch::begin(stage, VICTIM_NAME)?;
        let started = Instant::now();
        stage.start_server(VICTIM);
        let back = watch.until(true, clients, stage)?;
        stream.await_newcomers(AFTER)?;
        Ok((started, back, watch))
    })?;
    let out_until = watch.unchanged_until().unwrap_or(started);
    let until: Vec<&Attempt> = newcomers.iter().filter(|attempt| attempt.ended <= out_until).collect();
    let since: Vec<&Attempt> = newcomers.iter().filter(|attempt| attempt.began >= back).collect();
    let (answers_until, answers_since) = (answers(until), answers(since));
    table(
        ["backend", "newcomers until it is back", "newcomers since then"],
        NAMES
            .into_iter()
            .zip(answers_until)
            .zip(answers_since)
            .map(|((name, until), since)| [name.to_owned(), until.to_string(), since.to_string()]),
    );
    say(&format!(
        "{VICTIM_NAME} was back in the tables of both services {} ms after its start.",
        (back - started).as_millis()
    ));
    for client in &mut *regulars {
        client.come()?;
    }
    let victim = usize::from(VICTIM);
    report.claim(
        format!("{VICTIM_NAME} came back by its good probe number {HEALTHY_THRESHOLD}, in both services"),
        watch.came_at(HEALTHY_THRESHOLD),
    );
    report.claim(
        "Until then it got no client; since then it serves newcomers",
        judge::same(&(answers_until[victim], answers_since[victim] > 0), &(0, true)),
    );
    report.claim(
        format!("No request failed while {VICTIM_NAME} came back"),
        judge::all_answered(&newcomers),
    );
    report.claim(
        format!("None of the {} clients that return was moved again", regulars.len()),
        judge::each(
            regulars
                .iter()
                .map(|client| judge::one_memory(client.attempts.rchunks(2).next().unwrap_or_default())),
        ),
    );
    Ok(())
}

//! A backend dies under traffic.

use std::time::Instant;

use crate::demo::{
    attempt::Attempt,
    clients::{Clients, Regular},
    judge,
    report::{Report, say, table},
    stage::{NAMES, PROBE_INTERVAL, Stage, UNHEALTHY_THRESHOLD},
    stream,
    watch::Watch,
};

/// The backend that dies.
pub(super) const VICTIM: u8 = 1;

/// Its name.
pub(super) const VICTIM_NAME: &str = NAMES[VICTIM as usize];

/// Connections to each service that are held open.
const HELD: usize = 6;

/// Newcomers before the kill.
const BEFORE: usize = 50;

/// Newcomers after the backend was taken out.
const AFTER: usize = 150;

pub(in crate::demo) fn show(
    clients: &Clients<'_>,
    stage: &mut Stage<'_>,
    regulars: &mut [Regular<'_>],
    report: &mut Report,
) -> anyhow::Result<()> {
    report.act(
        "A backend that dies is left, and only its clients move",
        &format!(
            "Newcomers arrive all the time, one connection each, and {HELD} connections to each service are held open \
             and used. Then {VICTIM_NAME}'s server is killed by SIGKILL. Newcomers that hash onto it are refused until \
             {UNHEALTHY_THRESHOLD} probes in a row have failed; then the daemon writes new tables, in which the slots \
             of {VICTIM_NAME}, and only those, belong to the others."
        ),
    );
    let mut held = clients.regulars(HELD);
    for client in &mut held {
        client.hold()?;
        client.come()?;
    }
    let (newcomers, (killed, out, watch)) = stream::during(clients, &mut held, |stream| {
        stream.await_newcomers(BEFORE)?;
        let mut watch = Watch::begin(stage, VICTIM_NAME)?;
        let killed = Instant::now();
        stage.kill_server(VICTIM);
        let out = watch.until(false, clients, stage)?;
        stream.await_newcomers(AFTER)?;
        Ok((killed, out, watch))
    })?;
    show_timeline(killed, out, &watch, &newcomers);
    report.claim(
        format!("No request failed before {VICTIM_NAME} was killed"),
        judge::all_answered(newcomers.iter().filter(|attempt| attempt.ended <= killed)),
    );
    report.claim(
        format!("{VICTIM_NAME} was taken out by its failed probe number {UNHEALTHY_THRESHOLD}, in both services"),
        watch.left_at(UNHEALTHY_THRESHOLD),
    );
    report.claim(
        format!("No request failed that began after {VICTIM_NAME} was taken out"),
        judge::all_answered(newcomers.iter().filter(|attempt| attempt.began >= out)),
    );
    let others = held
        .iter()
        .filter(|client| client.attempts.first().map(Attempt::server) != Some(VICTIM_NAME));
    report.claim(
        "Open connections to the other backends went on: same server, no request lost",
        judge::each(others.map(|client| judge::one_memory(&client.attempts))),
    );
    judge_regulars(regulars, report)
}

/// When what happened, in milliseconds since the kill.
fn show_timeline(killed: Instant, out: Instant, watch: &Watch, newcomers: &[Attempt]) {
    let row = |what: String, moment: Option<Instant>| {
        let after = moment.map(|moment| moment.saturating_duration_since(killed).as_millis());
        [
            what,
            after.map_or_else(|| "-".to_owned(), |after| format!("{after} ms")),
        ]
    };
    let failed: Vec<&Attempt> = newcomers.iter().filter(|attempt| attempt.outcome.is_err()).collect();
    let mut rows = vec![row(
        "first request failed".to_owned(),
        failed.first().map(|attempt| attempt.ended),
    )];
    rows.extend((1..=UNHEALTHY_THRESHOLD).map(|probe| row(format!("probe {probe} had failed"), watch.failed(probe))));
    rows.push(row(format!("{VICTIM_NAME} was out of the tables"), Some(out)));
    rows.push(row(
        "last request that failed began".to_owned(),
        failed.last().map(|attempt| attempt.began),
    ));
    table(["event, in both services", "time since the kill"], rows);
    say(&format!(
        "{} newcomers, of whom {} failed. {UNHEALTHY_THRESHOLD} probes, one each {PROBE_INTERVAL} ms, need {} to {} ms.",
        newcomers.len(),
        failed.len(),
        (UNHEALTHY_THRESHOLD - 1) * PROBE_INTERVAL,
        UNHEALTHY_THRESHOLD * PROBE_INTERVAL
    ));
}

/// The clients from before come once more.
fn judge_regulars(regulars: &mut [Regular<'_>], report: &mut Report) -> anyhow::Result<()> {
    let (mut rows, mut moved, mut stayed) = (Vec::new(), Vec::new(), Vec::new());
    for client in regulars {
        let before = client.server().to_owned();
        let attempt = client.come()?.clone();
        let visits = attempt.outcome.as_ref().map_or(0, |visit| visit.visits);
        rows.push([
            client.address.to_string(),
            before.clone(),
            attempt.server().to_owned(),
            visits.to_string(),
        ]);
        if before == VICTIM_NAME {
            moved.push(judge::all_answered([&attempt]).and(judge::same(&visits, &1)));
        } else {
            stayed.push(judge::one_memory(&client.attempts));
        }
    }
    say(&format!(
        "The clients that returned before return once more, from the same addresses and ports. What {VICTIM_NAME} \
         remembered went with it: its clients begin anew elsewhere."
    ));
    table(["client", "before", "now", "visits in its memory"], rows);
    report.claim(
        format!(
            "Clients of the other backends ({}) kept their server and its memory",
            stayed.len()
        ),
        judge::each(stayed),
    );
    report.claim(
        format!("Clients of {VICTIM_NAME} ({}) are served by others", moved.len()),
        judge::each(moved),
    );
    Ok(())
}

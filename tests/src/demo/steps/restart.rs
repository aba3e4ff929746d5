//! The daemon goes and comes, the data plane stays.

use std::time::Instant;

use crate::demo::{
    attempt::Attempt,
    clients::Clients,
    judge,
    report::{Report, say},
    stage::{Service, Stage},
    stream,
};

/// Connections to each service that are held open.
const HELD: usize = 3;

/// Newcomers without a daemon, and as many afterwards.
const NEWCOMERS: usize = 150;

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    report.act(
        "Packets keep flowing while the daemon is stopped and started",
        "The daemon is stopped by SIGTERM under traffic. Its program and tables are pinned in the kernel, so packets \
         still find their way. Then it is started again: it takes over what it finds, and puts its own program in place \
         of the one that runs, again under traffic.",
    );
    let mut held = clients.regulars(HELD);
    for client in &mut held {
        client.hold()?;
    }
    let flows_before = new_flows(stage);
    let (newcomers, (stopped, starting)) = stream::during(clients, &mut held, |stream| {
        stage.balancer.stop();
        let stopped = Instant::now();
        stream.await_newcomers(NEWCOMERS)?;
        let starting = Instant::now();
        stage.balancer.run();
        stream.await_newcomers(NEWCOMERS)?;
        Ok((stopped, starting))
    })?;
    let without = |attempt: &&Attempt| attempt.began >= stopped && attempt.ended <= starting;
    let without: Vec<&Attempt> = newcomers.iter().filter(without).collect();
    say(&format!(
        "For {} ms no daemon ran, and {} newcomers came; {} in all.",
        (starting - stopped).as_millis(),
        without.len(),
        newcomers.len()
    ));
    report.claim(
        "Without the daemon, newcomers are served as before",
        judge::all_answered(without),
    );
    report.claim(
        "No request failed while the daemon stopped and started",
        judge::all_answered(&newcomers),
    );
    report.claim(
        format!("The {} open connections went on through both", held.len()),
        judge::each(held.iter().map(|client| judge::one_memory(&client.attempts))),
    );
    report.claim(
        "The counters missed none of the new flows",
        judge::same(&(new_flows(stage) - flows_before), &(newcomers.len() as u64)),
    );
    Ok(())
}

fn new_flows(stage: &Stage<'_>) -> u64 {
    let backends = Service::ALL.into_iter().flat_map(|service| stage.backends(service));
    backends.map(|backend| backend.new_flows).sum()
}

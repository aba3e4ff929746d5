//! How clients spread over the backends.

use crate::demo::{
    attempt::answers,
    clients::Clients,
    judge,
    report::{Report, table},
    stage::{NAMES, Service, Stage},
};

/// Requests to each service.
const REQUESTS: u32 = 500;

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    report.act(
        "Clients spread over the backends by their shares",
        &format!(
            "{} requests, {REQUESTS} each over IPv4 and IPv6, every one from an address and port of its own. A client's \
             address and port are hashed onto a slot of the service's Maglev table, and the slots are divided among \
             the backends by weight; what a backend should get is its share of the slots.",
            2 * REQUESTS
        ),
    );
    let (mut attempts, mut rows, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
    for service in Service::ALL {
        let visits = (0..REQUESTS).map(|_| clients.visit(clients.newcomer(service)));
        let visits = visits.collect::<anyhow::Result<Vec<_>>>()?;
        let (answers, shares) = (answers(&visits), stage.shares(service));
        for ((name, answers), share) in NAMES.into_iter().zip(answers).zip(shares) {
            rows.push([
                name.to_owned(),
                service.to_string(),
                answers.to_string(),
                percent(f64::from(answers) / f64::from(REQUESTS)),
                percent(share),
            ]);
        }
        verdicts.push(judge::near(answers, shares));
        attempts.extend(visits);
    }
    table(["backend", "service", "requests", "share", "expected"], rows);
    report.claim(
        "Every request was answered, by a server that saw the client's own address and port",
        judge::all_answered(&attempts),
    );
    report.claim(
        format!(
            "Every backend got its share of the clients, within {:.0} percentage points",
            judge::TOLERANCE * 100.0
        ),
        judge::each(verdicts),
    );
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

//! What the command line says of a client beside what happens to it.

use balancer::control::protocol::{Lookup, LookupReason};

use crate::demo::{
    clients::{Clients, Regular},
    judge,
    report::{Report, table},
    stage::{Service, Stage},
};

/// Clients of each service that have never come before.
const NEWCOMERS: usize = 3;

pub(in crate::demo) fn show(
    clients: &Clients<'_>,
    stage: &Stage<'_>,
    regulars: &mut [Regular<'_>],
    report: &mut Report,
) -> anyhow::Result<()> {
    report.act(
        "`lookup` says where a client goes, and why",
        "`balancer lookup SERVICE CLIENT:PORT` is asked first, then the client comes. A flow that the balancer remembers keeps its backend; for a new \
         one the slot of the Maglev table decides.",
    );
    let mut cases = Vec::new();
    for client in Service::ALL.into_iter().flat_map(|service| [service; NEWCOMERS]) {
        let client = clients.newcomer(client);
        cases.push((LookupReason::Maglev, stage.lookup(client), clients.visit(client)?));
    }
    for client in regulars {
        let lookup = stage.lookup(client.address);
        cases.push((LookupReason::Flow, lookup, client.come()?.clone()));
    }
    table(
        ["client", "lookup says", "because", "answered by"],
        cases.iter().map(|(_, lookup, attempt)| {
            [
                lookup.client.clone(),
                named(lookup).to_owned(),
                because(lookup),
                attempt.server().to_owned(),
            ]
        }),
    );
    report.claim(
        format!(
            "`lookup` named the backend that then answered, for each of {} clients",
            cases.len()
        ),
        judge::each(cases.iter().map(|(_, lookup, attempt)| {
            judge::all_answered([attempt])?;
            judge::same(&named(lookup), &attempt.server())
        })),
    );
    report.claim(
        "It gave the reason: the Maglev table for new clients, the remembered flow for those that had come before",
        judge::each(
            cases
                .iter()
                .map(|(reason, lookup, _)| judge::same(&lookup.reason, reason)),
        ),
    );
    Ok(())
}

fn named(lookup: &Lookup) -> &str {
    lookup.backend.as_deref().unwrap_or("nobody")
}

fn because(lookup: &Lookup) -> String {
    if lookup.reason == LookupReason::Maglev {
        format!("slot {} of {}", lookup.slot, lookup.slots)
    } else {
        format!("{:?}", lookup.reason).to_lowercase()
    }
}

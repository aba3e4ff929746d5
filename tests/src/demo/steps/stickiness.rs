//! Clients find their backend again.

use crate::demo::{
    clients::{Clients, Regular},
    judge,
    report::{Report, say, table},
};

/// Requests on one connection.
const REQUESTS: usize = 10;

/// Clients of each service that return.
const REGULARS: usize = 6;

/// How often each of them comes.
const TIMES: usize = 5;

/// Returns the clients that came again and again.
pub(in crate::demo) fn show<'a>(clients: &'a Clients<'_>, report: &mut Report) -> anyhow::Result<Vec<Regular<'a>>> {
    report.act(
        "A client finds its backend again",
        "Every server counts the visits of a client's address in its memory, beginning at 1. Only if a client reaches \
         the same server each time does it see its count go up by one. Affinity is by address and port: first many \
         requests on one connection, then clients that return with new connections from the same address and port.",
    );
    let mut held = clients.regulars(1);
    for client in &mut held {
        client.hold()?;
        for _ in 0..REQUESTS {
            client.come()?;
        }
        say(&format!(
            "{REQUESTS} requests on one connection from {}: {} counted {}.",
            client.address,
            client.server(),
            client.visits(),
        ));
    }
    let mut regulars = clients.regulars(REGULARS);
    // Everybody comes once before anybody comes again.
    for _ in 0..TIMES {
        for client in &mut regulars {
            client.come()?;
        }
    }
    table(
        ["client", "served by", "visits in that server's memory"],
        regulars
            .iter()
            .map(|client| [client.address.to_string(), client.server().to_owned(), client.visits()]),
    );
    report.claim(
        format!("{REQUESTS} requests on one connection reached one server, over IPv4 and over IPv6"),
        judge::each(held.iter().map(|client| judge::one_memory(&client.attempts))),
    );
    report.claim(
        format!(
            "Each of {} clients that came {TIMES} times found its server again",
            regulars.len()
        ),
        judge::each(regulars.iter().map(|client| judge::one_memory(&client.attempts))),
    );
    Ok(regulars)
}

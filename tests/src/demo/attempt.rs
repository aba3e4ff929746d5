//! A request and what became of it.

use std::{io, net::SocketAddr, time::Instant};

use serde::Deserialize;

use super::stage::NAMES;
use crate::lab::Reply;

/// A request and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) client: SocketAddr,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// The answer, or why there was none.
    pub(super) outcome: Result<Visit, String>,
}

/// What a server answers.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Visit {
    /// The server.
    pub(super) server: String,
    /// Where it saw the client come from.
    pub(super) client: SocketAddr,
    /// How often the client's address has been there, by the server's memory.
    pub(super) visits: u32,
}

impl Attempt {
    /// Makes a request and takes the time.
    pub(super) fn of(client: SocketAddr, request: impl FnOnce() -> io::Result<Reply>) -> Self {
        let began = Instant::now();
        let reply = request();
        Self {
            client,
            began,
            ended: Instant::now(),
            outcome: reply
                .map_err(|error| error.kind().to_string())
                .and_then(|reply| Visit::read(client, &reply)),
        }
    }

    /// The server that answered.
    pub(super) fn server(&self) -> &str {
        self.outcome.as_ref().map_or("nobody", |visit| &visit.server)
    }
}

impl Visit {
    /// Takes an answer only if the server saw the client's own address and port.
    fn read(client: SocketAddr, reply: &Reply) -> Result<Self, String> {
        if reply.status != 200 {
            return Err(format!("status {}", reply.status));
        }
        let visit: Self = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        // To a server that listens on IPv6, IPv4 clients look like ::ffff:10.1.2.1.
        let seen = SocketAddr::new(visit.client.ip().to_canonical(), visit.client.port());
        if seen == client {
            Ok(visit)
        } else {
            Err(format!("the server saw {seen}"))
        }
    }
}

/// How many of the requests each server answered, in the order of [`NAMES`].
pub(super) fn answers<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> [u32; NAMES.len()] {
    let mut counts = [0; NAMES.len()];
    for attempt in attempts {
        if let Some(number) = NAMES.iter().position(|name| *name == attempt.server()) {
            counts[number] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_client_is_none() {
        let read = |status, client| {
            let body = format!(r#"{{"server": "alpha", "client": "{client}", "visits": 1}}"#).into_bytes();
            Visit::read(
                "10.1.2.1:1024".parse().unwrap(),
                &Reply {
                    status,
                    headers: Vec::new(),
                    body,
                },
            )
        };
        assert!(read(200, "10.1.2.1:1024").is_ok());
        assert!(read(200, "[::ffff:10.1.2.1]:1024").is_ok());
        assert!(read(200, "10.1.2.1:1025").is_err());
        assert!(read(200, "10.1.0.1:1024").is_err());
        assert!(read(503, "10.1.2.1:1024").is_err());
    }
}

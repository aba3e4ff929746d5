//! Clients: what they do, and how long it takes them.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::server::LONGEST;
use crate::lab::Namespace;

/// Clients at work at once.
const CLIENTS: usize = 4;
/// How long a client waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a short answer.
const SHORT: usize = 64;

/// What clients do again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// A connection with one short request.
    Connections,
    /// A short request on a connection that stands.
    Requests,
    /// A request for a megabyte on a connection that stands.
    Downloads,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How long each took, in seconds.
    pub(super) latencies: Vec<f64>,
    /// How many failed.
    pub(super) failures: usize,
    /// How long all of it took.
    pub(super) duration: Duration,
}

impl Work {
    /// Everything that clients do.
    pub(super) const ALL: [Self; 3] = [Self::Connections, Self::Requests, Self::Downloads];

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Downloads => "downloads",
        }
    }

    const fn answer(self) -> usize {
        match self {
            Self::Connections | Self::Requests => SHORT,
            Self::Downloads => LONGEST,
        }
    }

    /// Has the clients on `host` do it for so long.
    pub(super) fn run(self, host: &Namespace, server: SocketAddr, duration: Duration) -> anyhow::Result<Done> {
        let started = Instant::now();
        let clients: Vec<anyhow::Result<Done>> = host.enter(|| {
            thread::scope(|scope| {
                #[expect(clippy::needless_collect, reason = "all start before one is joined")]
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| scope.spawn(move || self.repeat(server, started + duration)))
                    .collect();
                clients
                    .into_iter()
                    .map(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        });
        let mut done = Done::default();
        for client in clients {
            let client = client?;
            done.latencies.extend(client.latencies);
            done.failures += client.failures;
        }
        done.duration = started.elapsed();
        done.latencies.sort_by(f64::total_cmp);
        Ok(done)
    }

    fn repeat(self, server: SocketAddr, end: Instant) -> anyhow::Result<Done> {
        let mut done = Done::default();
        let mut buffer = vec![0; LONGEST];
        let mut standing = match self {
            Self::Connections => None,
            Self::Requests | Self::Downloads => Some(connect(server).context("a client cannot connect")?),
        };
        while Instant::now() < end {
            let begun = Instant::now();
            let result = match &mut standing {
                Some(connection) => exchange(connection, &mut buffer[..self.answer()]),
                None => {
                    connect(server).and_then(|mut connection| exchange(&mut connection, &mut buffer[..self.answer()]))
                }
            };
            match result {
                Ok(()) => done.latencies.push(begun.elapsed().as_secs_f64()),
                Err(_) => done.failures += 1,
            }
        }
        Ok(done)
    }
}

/// A connection with one short request.
pub(super) fn exchange_once(server: SocketAddr) -> io::Result<()> {
    exchange(&mut connect(server)?, &mut [0; SHORT])
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&server, PATIENCE)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn exchange(connection: &mut TcpStream, answer: &mut [u8]) -> io::Result<()> {
    connection.write_all(&(answer.len() as u64).to_be_bytes())?;
    connection.read_exact(answer)
}

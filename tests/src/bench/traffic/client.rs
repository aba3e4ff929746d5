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

/// How long a client waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a short answer.
const SHORT: usize = 64;

/// What clients do again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Work {
    /// A connection with one short request.
    Connections,
    /// A short request on a connection that stands.
    Requests,
    /// A request for a megabyte on a connection that stands.
    Downloads,
}

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::bench) struct Done {
    /// How long each took, in seconds.
    pub(in crate::bench) latencies: Vec<f64>,
    /// How many failed.
    pub(in crate::bench) failures: usize,
    /// How long all of it took.
    pub(in crate::bench) duration: Duration,
}

impl Work {
    /// Everything that clients do.
    pub(in crate::bench) const ALL: [Self; 3] = [Self::Connections, Self::Requests, Self::Downloads];

    /// What it is called.
    pub(in crate::bench) const fn name(self) -> &'static str {
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

    /// Has so many clients on `host` do it at once, for so long.
    pub(in crate::bench) fn run(
        self,
        host: &Namespace,
        clients: usize,
        server: SocketAddr,
        duration: Duration,
    ) -> anyhow::Result<Done> {
        let started = Instant::now();
        let clients: Vec<anyhow::Result<Done>> = host.enter(|| {
            thread::scope(|scope| {
                #[expect(clippy::needless_collect, reason = "all start before one is joined")]
                let clients: Vec<_> = (0..clients)
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
pub(in crate::bench) fn exchange_once(server: SocketAddr) -> io::Result<()> {
    exchange(&mut connect(server)?, &mut [0; SHORT])
}

/// A connection.
pub(in crate::bench) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&server, PATIENCE)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// A request for as many bytes as there is room for, and the answer to it.
pub(in crate::bench) fn exchange(connection: &mut TcpStream, answer: &mut [u8]) -> io::Result<()> {
    connection.write_all(&(answer.len() as u64).to_be_bytes())?;
    connection.read_exact(answer)
}

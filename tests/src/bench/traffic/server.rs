//! A server that answers a length by as many bytes.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use anyhow::Context as _;

use crate::lab::Network;

/// The port that every backend serves on.
pub(in crate::bench) const PORT: u16 = 8080;

/// The longest answer.
pub(super) const LONGEST: usize = 1 << 20;

/// Serves so many connections at once on every backend, for as long as this process runs.
pub(in crate::bench) fn serve(network: &Network, at_once: usize) -> anyhow::Result<()> {
    for backend in &network.backends {
        let listener = backend
            .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
            .context("a backend's port is free")?;
        for _ in 0..at_once {
            let listener = listener.try_clone()?;
            thread::spawn(move || {
                let answer = vec![0x5a; LONGEST];
                for connection in listener.incoming().flatten() {
                    // A client that goes in the middle of it has its reasons.
                    let _gone: io::Result<()> = answer_all(connection, &answer);
                }
            });
        }
    }
    Ok(())
}

fn answer_all(mut connection: TcpStream, answer: &[u8]) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut request = [0; 8];
    loop {
        match connection.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let length = usize::try_from(u64::from_be_bytes(request)).unwrap_or(usize::MAX);
        connection.write_all(&answer[..length.min(answer.len())])?;
    }
}

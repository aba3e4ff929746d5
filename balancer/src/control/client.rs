//! The client's end of the control socket.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::protocol::{Refusal, Request, Response};

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error(
        "no daemon answers at {path} ({source}): is `balancer run` running? Name its socket with --socket or BALANCER_SOCKET"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon went away: {0}")]
    Broken(#[from] io::Error),
    /// The answer is not one.
    #[error("the daemon's answer cannot be read ({0}): is it of another version?")]
    Unreadable(#[from] serde_json::Error),
    /// The daemon refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Asks the daemon at `socket`.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, Error> {
    let mut answers = follow(socket, request)?;
    let gone = || io::Error::from(io::ErrorKind::UnexpectedEof).into();
    answers.next().unwrap_or_else(|| Err(gone()))
}

/// Asks the daemon at `socket` for something that it answers again and again, until it ends.
pub fn follow(
    socket: &Path,
    request: &Request,
) -> Result<impl Iterator<Item = Result<Response, Error>> + use<>, Error> {
    let mut stream = UnixStream::connect(socket).map_err(|source| Error::Unreachable {
        path: socket.to_owned(),
        source,
    })?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    Ok(BufReader::new(stream)
        .lines()
        .map(|line| match serde_json::from_str(&line?)? {
            Response::Refused(refusal) => Err(refusal.into()),
            response => Ok(response),
        }))
}

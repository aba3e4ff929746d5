//! Why a probe failed.

use std::io::{self, ErrorKind};

use rustix::io::Errno;
use thiserror::Error;
use tokio_rustls::rustls;

/// Bytes of an unexpected answer that are shown.
const SHOWN: usize = 60;

/// Why a probe failed, in few words for logs.
#[derive(Clone, Debug, Error)]
pub enum Failure {
    /// Nobody listens on the port.
    #[error("connection refused")]
    Refused,
    /// The probe took longer than it may, or the kernel gave up connecting.
    #[error("timed out")]
    TimedOut,
    /// The backend reset the connection.
    #[error("connection reset")]
    Reset,
    /// The connection ended before the answer was complete.
    #[error("connection closed early")]
    ClosedEarly,
    /// The network does not reach the backend.
    #[error("{0}")]
    Network(String),
    /// The answer breaks the rules of its protocol.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The answer was not complete after as many bytes as a probe reads.
    #[error("no complete reply in {0} bytes")]
    TooLong(usize),
    /// The HTTP status is not one that counts as healthy.
    #[error("status {0}")]
    Status(u16),
    /// The DNS response has a code that is not the expected one.
    #[error("DNS response {0}")]
    Rcode(String),
    /// The gRPC call failed; its status and message.
    #[error("gRPC status {0}")]
    Grpc(String),
    /// The backend says of itself that it does not serve.
    #[error("{0} by its own account")]
    NotServing(&'static str),
    /// The command ended in this way.
    #[error("command failed: {0}")]
    Command(String),
    /// The answer is not the one that is waited for; its beginning.
    #[error("unexpected answer {0:?}")]
    Unexpected(String),
    /// The TLS handshake failed, or the certificate is not to be believed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The configured path or host cannot be sent.
    #[error("no valid request: {0}")]
    Request(String),
    /// This host lacked what it takes to ask: descriptors, memory, ports or an address. The backend was not asked.
    #[error("not probed: {0}")]
    Local(String),
}

impl Failure {
    /// An answer that is not the one that is waited for.
    pub(super) fn unexpected(answer: &[u8]) -> Self {
        Self::Unexpected(String::from_utf8_lossy(&answer[..answer.len().min(SHOWN)]).into_owned())
    }

    /// Whether the cause lies on this host, so that the probe says nothing about the backend.
    ///
    /// Counting these would take every backend down at once when the daemon runs out of file descriptors.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        let cause = error.get_ref();
        if let Some(tls) = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.to_string());
        }
        if let Some(failure) = cause.and_then(|cause| cause.downcast_ref::<Self>()) {
            return failure.clone();
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::ClosedEarly,
            _ => match Errno::from_io_error(error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => {
                    Self::Local(error.to_string())
                }
                _ => Self::Network(error.to_string()),
            },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shortage_on_this_host_is_local() {
        let cases = [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOBUFS, true),
            (Errno::NOMEM, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::CONNRESET, false),
            (Errno::TIMEDOUT, false),
            (Errno::HOSTUNREACH, false),
            (Errno::NETUNREACH, false),
        ];
        for (errno, local) in cases {
            let failure = Failure::from(io::Error::from(errno));
            assert_eq!(failure.is_local(), local, "{errno:?} became {failure:?}");
        }
    }
}

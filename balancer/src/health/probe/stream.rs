//! The connections over which probes talk: in plain text or under TLS, and of bounded length.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take},
    net::TcpStream,
};

use super::{Failure, MAX_REPLY, socket::connect, tls::TlsClient};
use crate::health::Destination;

/// Bytes that TLS adds to an answer at most, certificates above all.
const MAX_TLS: usize = 64 * 1024;

/// A connection, whatever is below it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects, begins TLS if asked to, and lets answers have [`MAX_REPLY`] bytes and a `body`.
pub(super) async fn open(
    destination: &Destination,
    tls: Option<&TlsClient>,
    body: usize,
) -> Result<Box<dyn Stream>, Failure> {
    let stream = connect(destination).await?;
    Ok(match tls {
        None => Box::new(Bounded::new(stream, MAX_REPLY + body)),
        Some(tls) => {
            let stream = Bounded::new(stream, MAX_REPLY + body + MAX_TLS);
            Box::new(tls.begin(stream, destination.address).await?)
        }
    })
}

/// A connection on which reading fails after so many bytes, and does not just end, as if the backend had ended it.
pub(super) struct Bounded {
    stream: Take<TcpStream>,
    most: usize,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream, most: usize) -> Self {
        Self {
            stream: stream.take(most as u64),
            most,
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stream.limit() == 0 {
            return Poll::Ready(Err(io::Error::other(Failure::TooLong(self.most))));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}

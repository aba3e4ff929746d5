//! The TCP probe: does the backend accept a connection, and say what it should?

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Failure, MAX_REPLY, Probe, pattern::Pattern, socket::connect, stream::Bounded};
use crate::{config, health::Destination};

/// Succeeds when the handshake does and, if anything is expected, as soon as it has come.
pub(super) struct TcpProbe {
    send: Vec<u8>,
    expect: Option<Pattern>,
}

impl TcpProbe {
    pub(super) fn new(config: &config::TcpProbe) -> Self {
        Self {
            send: config.send.clone(),
            expect: config.expect.as_ref().map(Pattern::new),
        }
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let mut stream = Bounded::new(connect(destination).await?, MAX_REPLY);
        stream.write_all(&self.send).await?;
        let Some(pattern) = &self.expect else {
            return Ok(());
        };
        let mut answer = Vec::new();
        while stream.read_buf(&mut answer).await? > 0 {
            if pattern.is_in(&answer) {
                return Ok(());
            }
        }
        Err(if answer.is_empty() {
            Failure::ClosedEarly
        } else {
            Failure::unexpected(&answer)
        })
    }
}

impl Probe for TcpProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::health::probe::loopback;

    #[tokio::test]
    async fn the_connection_ends_with_a_reset() {
        let mut server = loopback::serve(|mut stream| async move { stream.read(&mut [0]).await }).await;
        let probe = TcpProbe::new(&config::TcpProbe::default());
        let destination = loopback::destination(server.address);
        probe.probe(&destination).await.unwrap();
        let end = server.served().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

//! The TCP probe: does the backend accept a connection?

use std::net::SocketAddr;

use futures_util::future::BoxFuture;

use super::{Failure, Probe, connect};

/// Succeeds when the handshake does.
pub(super) struct TcpProbe;

impl Probe for TcpProbe {
    fn probe(&self, target: SocketAddr) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { connect(target).await.map(drop) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::health::probe::loopback;

    #[tokio::test]
    async fn an_accepted_connection_is_a_success() {
        let server = loopback::serve(|_stream| async {}).await;
        TcpProbe.probe(server.address).await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_port_is_a_refusal() {
        let (address, _held) = loopback::closed_port();
        let failure = TcpProbe.probe(address).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused), "{failure:?}");
    }

    #[tokio::test]
    async fn the_connection_ends_with_a_reset() {
        let mut server = loopback::serve(|mut stream| async move { stream.read(&mut [0]).await }).await;
        TcpProbe.probe(server.address).await.unwrap();
        let end = server.served().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

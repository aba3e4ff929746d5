//! Backends that speak by datagrams.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{net::UdpSocket, task::JoinHandle};

/// A backend on a UDP port of its own, which it keeps while it is stopped and started.
pub(crate) struct Datagrams {
    pub(crate) address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Datagrams {
    pub(crate) async fn start(answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let mut backend = Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            serving: None,
        };
        backend.become_one_that(answer).await;
        backend
    }

    /// Answers each datagram with these from now on.
    pub(crate) async fn become_one_that(&mut self, mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        self.stop().await;
        let socket = UdpSocket::bind(self.address).await.unwrap();
        self.address = socket.local_addr().unwrap();
        self.serving = Some(tokio::spawn(async move {
            let mut question = vec![0; 65536];
            loop {
                // Probes that are gone leave errors behind.
                if let Ok((length, client)) = socket.recv_from(&mut question).await {
                    for answer in answer(&question[..length]) {
                        socket.send_to(&answer, client).await.unwrap();
                    }
                }
            }
        }));
    }

    /// Closes the port.
    pub(crate) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            assert!(serving.await.unwrap_err().is_cancelled());
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

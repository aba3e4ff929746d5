//! Servers on the loopback interface for the tests of the probes.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufStream},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::health::Destination;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server that deals with one connection after the other until it is dropped.
pub(in crate::health) struct Server<T> {
    /// Where it listens.
    pub(in crate::health) address: SocketAddr,
    served: mpsc::UnboundedReceiver<T>,
    task: JoinHandle<()>,
}

/// Starts a server on some port that deals with each connection by `handle`.
pub(in crate::health) async fn serve<F, T>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Server<T>
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (results, served) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if results.send(handle(stream).await).is_err() {
                break;
            }
        }
    });
    Server { address, served, task }
}

impl<T> Server<T> {
    /// What dealing with the next connection came to.
    pub(in crate::health) async fn served(&mut self) -> T {
        self.served.recv().await.unwrap()
    }
}

impl<T> Drop for Server<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where probes of a server go.
pub(in crate::health) fn destination(address: SocketAddr) -> Destination {
    Destination {
        backend: "backend".to_owned(),
        address,
        mark: None,
    }
}

/// The lines of an HTTP request, without the empty one at its end.
pub(in crate::health) async fn read_request(stream: &mut BufStream<TcpStream>) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// A port on which nobody listens, and on which nobody else can while the socket is kept.
pub(in crate::health) fn closed_port() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(ANY_PORT).unwrap();
    (socket.local_addr().unwrap(), socket)
}

//! UDP clients.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use super::Namespace;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A UDP client with a port of its own.
#[derive(Debug)]
pub struct UdpClient(UdpSocket);

impl UdpClient {
    /// A client that sends from `client`.
    pub fn new(host: &Namespace, client: SocketAddr) -> io::Result<Self> {
        let socket = host.enter(|| UdpSocket::bind(client))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a datagram and does not wait for an answer.
    pub fn send(&self, server: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.0.send_to(datagram, server).map(drop)
    }

    /// Sends a datagram and returns the answer, which must come from where the datagram was sent to.
    pub fn ask(&self, server: SocketAddr, datagram: &[u8]) -> io::Result<String> {
        self.send(server, datagram)?;
        let mut answer = vec![0; 65_536];
        let (length, from) = self.0.recv_from(&mut answer)?;
        if from != server {
            return Err(io::Error::other(format!("{server} was asked and {from} answered")));
        }
        answer.truncate(length);
        String::from_utf8(answer).map_err(io::Error::other)
    }

    /// The socket, for what only a test needs.
    pub const fn socket(&self) -> &UdpSocket {
        &self.0
    }
}

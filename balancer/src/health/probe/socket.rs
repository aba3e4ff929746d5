//! The sockets that probes ask through.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::Failure;
use crate::health::Destination;

/// Opens a connection that is closed with a reset.
///
/// The side that closes first keeps the connection in `TIME_WAIT` for a minute, which at thousands of probes per second
/// would be some hundred thousand dead sockets here. A reset leaves none on either side, and frees what a backend that
/// hangs would go on holding.
pub(super) async fn connect(destination: &Destination) -> Result<TcpStream, Failure> {
    let socket = match destination.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    mark(&socket, destination)?;
    socket.set_zero_linger()?;
    Ok(socket.connect(destination.address).await?)
}

/// Opens a socket for datagrams to the destination, which is told by the next call when one of them is refused.
pub(super) async fn datagrams(destination: &Destination) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = match destination.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    mark(&socket, destination)?;
    socket.connect(destination.address).await?;
    Ok(socket)
}

/// Marks a socket as the destination wants it. Without the right to do so, nothing could be told about the backend.
fn mark(socket: &impl AsFd, destination: &Destination) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::Local(format!("cannot mark a socket: {error}"));
    match destination.mark {
        Some(mark) => SockRef::from(socket).set_mark(mark).map_err(refused),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::probe::loopback;

    #[tokio::test]
    async fn sockets_have_the_mark_of_their_destination() {
        let server = loopback::serve(|_stream| async {}).await;
        let unmarked = loopback::destination(server.address);
        // A mark takes a privilege, but none is needed for that which every socket has.
        for mark in [None, Some(0)] {
            let destination = Destination {
                mark,
                ..unmarked.clone()
            };
            connect(&destination).await.unwrap();
            datagrams(&destination).await.unwrap();
        }
        let destination = Destination {
            mark: Some(7),
            ..unmarked
        };
        match connect(&destination).await {
            Ok(stream) => {
                let datagrams = datagrams(&destination).await.unwrap();
                assert_eq!(SockRef::from(&stream).mark().unwrap(), 7);
                assert_eq!(SockRef::from(&datagrams).mark().unwrap(), 7);
            }
            Err(failure) => assert!(failure.is_local(), "{failure:?}"),
        }
    }
}

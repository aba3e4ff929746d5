//! An ICMP echo.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Namespace;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Length of the header of an echo message (RFC 792, RFC 4443).
const HEADER: usize = 8;

/// Sends an echo request to `address` and waits for the reply.
pub fn ping(host: &Namespace, address: IpAddr) -> io::Result<()> {
    // With this the kernel makes a datagram socket for echoes, and fills in identifier and checksum. It holds for IPv6 too.
    host.sysctl("net.ipv4.ping_group_range", "0 0");
    let (protocol, kind) = match address {
        IpAddr::V4(_) => (Protocol::ICMPV4, 8),
        IpAddr::V6(_) => (Protocol::ICMPV6, 128),
    };
    let address = SocketAddr::new(address, 0);
    let mut socket = host.enter(|| Socket::new(Domain::for_address(address), Type::DGRAM, Some(protocol)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&address.into())?;
    let payload = b"an echo";
    let mut request = vec![0; HEADER];
    request[0] = kind;
    request.extend(payload);
    socket.write_all(&request)?;
    let mut reply = [0; 128];
    let length = socket.read(&mut reply)?;
    if reply.get(HEADER..length) == Some(payload) {
        Ok(())
    } else {
        Err(io::Error::other("the reply does not echo the request"))
    }
}

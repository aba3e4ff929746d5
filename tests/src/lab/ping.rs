//! An ICMP echo.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Namespace;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often is asked: a veth pair may keep what an XDP program sends back until something else passes.
const REQUESTS: usize = 25;

/// Length of the header of an echo message (RFC 792, RFC 4443).
const HEADER: usize = 8;

/// Sends echo requests to `address` until there is a reply.
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
    let mut reply = [0; 128];
    let mut ask = || {
        socket.write_all(&request)?;
        socket.read(&mut reply)
    };
    let mut answer = ask();
    for _ in 1..REQUESTS {
        if answer.is_ok() {
            break;
        }
        answer = ask();
    }
    let length = answer?;
    if reply.get(HEADER..length) == Some(payload) {
        Ok(())
    } else {
        Err(io::Error::other("the reply does not echo the request"))
    }
}

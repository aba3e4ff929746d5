//! A client that opens one connection for each request and can choose the port that it comes from.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::Namespace;

/// How long a connection or a read may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Requests `path` from `server`, from any port.
pub fn get(host: &Namespace, server: SocketAddr, path: &str) -> io::Result<Reply> {
    host.enter(|| request(None, server, "GET", path, &[]))
}

/// Requests `path` from `server`, from the given address and port.
pub fn get_from(host: &Namespace, client: SocketAddr, server: SocketAddr, path: &str) -> io::Result<Reply> {
    host.enter(|| request(Some(client), server, "GET", path, &[]))
}

/// Sends `body` to `path` on `server`.
pub fn put(host: &Namespace, server: SocketAddr, path: &str, body: &[u8]) -> io::Result<Reply> {
    host.enter(|| request(None, server, "PUT", path, body))
}

fn request(client: Option<SocketAddr>, server: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
    let mut stream = connect(client, server)?;
    let host = match server.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    parse(&reply).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the reply is cut off or not HTTP"))
}

fn connect(client: Option<SocketAddr>, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(client) = client {
        socket.set_reuse_address(true)?;
        socket.bind(&client.into())?;
    }
    socket.connect_timeout(&server.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Takes a reply apart; `None` if it is not whole.
fn parse(reply: &[u8]) -> Option<Reply> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(reply.get(..end)?).ok()?;
    let body = reply.get(end + 4..)?.to_vec();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())?;
    (body.len() == length).then_some(Reply { status, body })
}

//! HTTP clients, which can choose the port that they come from.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use serde::de::DeserializeOwned;
use socket2::{Domain, Socket, Type};

use super::Namespace;

/// How long a connection, a read or a write may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names, in lower case, and values of the header.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// Requests `path` from `server`, from any port.
pub fn get(host: &Namespace, server: SocketAddr, path: &str) -> io::Result<Reply> {
    Connection::open(host, None, server)?.last_request("GET", path, &[])
}

/// Requests `path` from `server`, from the given address and port.
pub fn get_from(host: &Namespace, client: SocketAddr, server: SocketAddr, path: &str) -> io::Result<Reply> {
    Connection::open(host, Some(client), server)?.last_request("GET", path, &[])
}

/// Sends `body` to `path` on `server`.
pub fn put(host: &Namespace, server: SocketAddr, path: &str, body: &[u8]) -> io::Result<Reply> {
    Connection::open(host, None, server)?.last_request("PUT", path, body)
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// The server as the `Host` header names it.
    authority: String,
}

impl Connection {
    /// Connects to `server`, from `client` if one is given.
    pub fn open(host: &Namespace, client: Option<SocketAddr>, server: SocketAddr) -> io::Result<Self> {
        let stream = host.enter(|| connect(client, server))?;
        let authority = match server.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Ok(Self {
            stream: BufReader::new(stream),
            authority,
        })
    }

    /// Requests `path`.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send_head("GET", path, 0, "keep-alive")?;
        self.receive()
    }

    /// Requests `path` and hands out the body while it comes.
    pub fn download(&mut self, path: &str) -> io::Result<impl Read> {
        self.send_head("GET", path, 0, "keep-alive")?;
        let head = self.receive_head()?;
        Ok((&mut self.stream).take(head.extent.length()?))
    }

    /// The same for a body that is all that the connection is still there for.
    pub fn into_download(mut self, path: &str) -> io::Result<impl Read + use<>> {
        self.send_head("GET", path, 0, "close")?;
        let head = self.receive_head()?;
        Ok(self.stream.take(head.extent.length()?))
    }

    /// Sends the first `length` bytes of `body` to `path`.
    pub fn upload(&mut self, path: &str, body: impl Read, length: u64) -> io::Result<Reply> {
        self.send_head("PUT", path, length, "keep-alive")?;
        io::copy(&mut body.take(length), self.stream.get_mut())?;
        self.receive()
    }

    /// Makes a request after which the server closes the connection: a client that closed first would keep the port for
    /// a while.
    fn last_request(mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        self.send_head(method, path, body.len() as u64, "close")?;
        self.stream.get_mut().write_all(body)?;
        let reply = self.receive()?;
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        if rest.is_empty() {
            Ok(reply)
        } else {
            Err(invalid("the reply goes on behind its end"))
        }
    }

    fn send_head(&mut self, method: &str, path: &str, length: u64, connection: &str) -> io::Result<()> {
        let authority = &self.authority;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
        );
        self.stream.get_mut().write_all(head.as_bytes())
    }

    fn receive(&mut self) -> io::Result<Reply> {
        let Head {
            status,
            headers,
            extent,
        } = self.receive_head()?;
        let mut body = Vec::new();
        match extent {
            Extent::Length(length) => self.receive_bytes(length, &mut body)?,
            Extent::Chunks => while self.receive_chunk(&mut body)? {},
        }
        Ok(Reply { status, headers, body })
    }

    fn receive_bytes(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let received = (&mut self.stream).take(length).read_to_end(body)?;
        if received as u64 == length {
            Ok(())
        } else {
            Err(invalid("the reply is cut off"))
        }
    }

    /// Receives a chunk (RFC 9112, section 7.1). Returns whether others follow.
    fn receive_chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let length = u64::from_str_radix(&self.receive_line()?, 16).map_err(io::Error::other)?;
        self.receive_bytes(length, body)?;
        let end = self.receive_line()?;
        if end.is_empty() {
            Ok(length > 0)
        } else {
            Err(invalid("a chunk goes on behind its end"))
        }
    }

    fn receive_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n");
        line.map(str::to_owned).ok_or_else(|| invalid("the reply is cut off"))
    }

    fn receive_head(&mut self) -> io::Result<Head> {
        let mut lines = Vec::new();
        loop {
            let line = self.receive_line()?;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        parse_head(&lines).ok_or_else(|| invalid("the reply is not HTTP, or of unknown length"))
    }
}

/// What comes before a body.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    extent: Extent,
}

/// How far a body goes.
#[derive(Clone, Copy)]
enum Extent {
    Length(u64),
    Chunks,
}

impl Extent {
    fn length(self) -> io::Result<u64> {
        match self {
            Self::Length(length) => Ok(length),
            Self::Chunks => Err(invalid("the reply is of unknown length")),
        }
    }
}

fn parse_head(lines: &[String]) -> Option<Head> {
    let (first, rest) = lines.split_first()?;
    let status = first.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let headers: Vec<_> = rest
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let extent = match status {
        // No Content (RFC 9110, section 15.3.5).
        204 => Extent::Length(0),
        _ if find(&headers, "transfer-encoding") == Some("chunked") => Extent::Chunks,
        _ => Extent::Length(find(&headers, "content-length")?.parse().ok()?),
    };
    Some(Head {
        status,
        headers,
        extent,
    })
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(known, _)| known == name)?;
    Some(value)
}

pub(super) fn connect(client: Option<SocketAddr>, server: SocketAddr) -> io::Result<TcpStream> {
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

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

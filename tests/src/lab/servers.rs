//! Servers on backends: processes of this crate's `lab-server`.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
};

use super::{Checksum, Namespace, Process, Sequence, eventually, get, program};

/// An HTTP server that says who it is, keeps state in memory, and serves and receives large bodies.
///
/// | request | answer |
/// | --- | --- |
/// | `GET /` | `{"server": name, "client": "address:port"}` |
/// | `GET /visit` | the same, with `visits`: how often the client's address has been here |
/// | `GET /health` | 200 `{"status": "ok", "instance_id": name}`; after `PUT /health/503` that status |
/// | `PUT /health/STATUS,…` | what `/health` answers from now on: each status once, the last for good |
/// | `GET /bytes/N` | the first N bytes of the [`Sequence`] |
/// | `PUT /sum` | the [`Checksum`] of the body |
pub struct HttpServer {
    process: Process,
}

impl HttpServer {
    /// Starts a server named `name` that listens at `port` of both IP versions, and waits until it answers at `address`.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16, log: &Path) -> Self {
        let mut process = Process::start(&mut lab_server(host, name, "http", port), log);
        let own = SocketAddr::new(address, port);
        eventually("the HTTP server answers", || {
            let ended = process.try_wait();
            assert!(ended.is_none(), "the HTTP server ended:\n{}", process.output());
            get(host, own, "/health").ok()
        });
        Self { process }
    }

    /// The process.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The bytes that `/bytes/N` serves.
    pub fn bytes(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        std::io::Read::read_exact(&mut Sequence::default(), &mut bytes).expect("the sequence has no end");
        bytes
    }

    /// The checksum that `/sum` answers.
    pub fn checksum(bytes: &[u8]) -> String {
        let mut checksum = Checksum::default();
        checksum.update(bytes);
        checksum.to_string()
    }
}

/// A UDP server that answers each datagram with its name, a space and the client's address and port.
pub struct UdpServer {
    _process: Process,
}

impl UdpServer {
    /// Starts a server named `name` that listens at `port` of both IP versions, and waits until it answers at `address`.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16, log: &Path) -> Self {
        let process = Process::start(&mut lab_server(host, name, "udp", port), log);
        let socket = host.enter(|| UdpSocket::bind(SocketAddr::new(address, 0)));
        let socket = socket.expect("a port is free");
        let own = SocketAddr::new(address, port);
        // A connected socket is told when nobody listens yet.
        socket.connect(own).expect("a host can reach itself");
        eventually("the UDP server answers", || {
            socket.send(b"?").ok()?;
            socket.recv(&mut [0; 128]).ok()
        });
        Self { _process: process }
    }
}

/// Servers listen at every address, so that a VIP on a loopback interface is served too.
fn lab_server(host: &Namespace, name: &str, kind: &str, port: u16) -> Command {
    let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let mut command = host.command(program("lab-server"));
    command.args([kind, "--name", name, "--listen", &listen.to_string()]);
    command
}

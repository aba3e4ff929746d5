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
/// | `GET /socket` | a web socket; each message is answered by the server's name |
pub struct HttpServer {
    process: Process,
}

impl HttpServer {
    /// Starts a server named `name` that listens at `port` of both IP versions, and waits until it answers at `address`.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16, log: &Path) -> Self {
        // At every address, so that a VIP on a loopback interface is served too.
        let anywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let mut process = Process::start(&mut lab_server(host, name, "http", anywhere), log);
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
        let anywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Self::wait(
            host,
            lab_server(host, name, "udp", SocketAddr::new(anywhere, port)),
            SocketAddr::new(address, port),
            log,
        )
    }

    /// The same for a server that listens at `address` alone, and so answers from there whatever else the host is called.
    pub fn start_at(host: &Namespace, name: &str, address: SocketAddr, log: &Path) -> Self {
        Self::wait(host, lab_server(host, name, "udp", address), address, log)
    }

    fn wait(host: &Namespace, mut command: Command, own: SocketAddr, log: &Path) -> Self {
        let process = Process::start(&mut command, log);
        let socket = host.enter(|| UdpSocket::bind(SocketAddr::new(own.ip(), 0)));
        let socket = socket.expect("a port is free");
        // A connected socket is told when nobody listens yet.
        socket.connect(own).expect("a host can reach itself");
        eventually("the UDP server answers", || {
            socket.send(b"?").ok()?;
            socket.recv(&mut [0; 128]).ok()
        });
        Self { _process: process }
    }
}

fn lab_server(host: &Namespace, name: &str, kind: &str, listen: SocketAddr) -> Command {
    let mut command = host.command(program("lab-server"));
    command.args([kind, "--name", name, "--listen", &listen.to_string()]);
    command
}

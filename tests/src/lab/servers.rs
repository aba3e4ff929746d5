//! Servers on backends: processes of this crate's `lab-server`.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{Namespace, Process, http, program};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An HTTP server that says who it is, keeps state in memory, and serves and receives large bodies.
///
/// | request | answer |
/// | --- | --- |
/// | `GET /` | `{"server": name, "client": "address:port"}` |
/// | `GET /visit` | the same, with `visits`: how often the client's address has been here |
/// | `GET /health` | 200 `{"status": "ok", "instance_id": name}`; after `PUT /health/503` that status |
/// | `PUT /health/STATUS` | what `/health` answers from now on |
/// | `GET /bytes/N` | N bytes of a fixed sequence |
/// | `PUT /sum` | the checksum of the body, as [`checksum`](crate::lab::HttpServer::checksum) |
pub struct HttpServer {
    process: Process,
}

impl HttpServer {
    /// Starts a server named `name` that listens at `port`, and waits until it does.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16, log: &Path) -> Self {
        let listen = SocketAddr::new(unspecified(address), port);
        let mut command = lab_server(host, name, "http", listen);
        let process = Process::start(&mut command, log);
        let deadline = Instant::now() + PATIENCE;
        let own = SocketAddr::new(address, port);
        while http::get(host, own, "/health").is_err() {
            assert!(
                Instant::now() < deadline,
                "the server does not answer:\n{}",
                process.output()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Self { process }
    }

    /// The process.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The bytes that `/bytes/N` serves.
    pub fn bytes(count: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..count)
            .map(|_| {
                // A linear congruential generator (Knuth, TAOCP volume 2, 3.3.4): no period that hides a lost packet.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    /// The checksum that `/sum` answers: 64-bit FNV-1a, in hexadecimal.
    pub fn checksum(bytes: &[u8]) -> String {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// A UDP server that answers each datagram with its name, a space and the client's address and port.
pub struct UdpServer {
    _process: Process,
}

impl UdpServer {
    /// Starts a server named `name` that listens at `port`, and waits until it does.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16, log: &Path) -> Self {
        let listen = SocketAddr::new(unspecified(address), port);
        let process = Process::start(&mut lab_server(host, name, "udp", listen), log);
        let deadline = Instant::now() + PATIENCE;
        while !process.output().contains("listening") {
            assert!(
                Instant::now() < deadline,
                "the server does not start:\n{}",
                process.output()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Self { _process: process }
    }
}

fn lab_server(host: &Namespace, name: &str, kind: &str, listen: SocketAddr) -> Command {
    let mut command = host.command(program("lab-server"));
    command.args([kind, "--name", name, "--listen", &listen.to_string()]);
    command
}

/// Servers listen at every address of the family, so that a VIP on a loopback interface is served too.
const fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

//! How the health of backends is found out.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use domain::base::{Name, Rtype, iana::Rcode};
use serde::{Deserialize, Serialize};

use super::Protocol;

/// Bounds of health checking, over all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Probes that may be under way at once.
    pub max_concurrent: usize,
}

/// How a backend's health is found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked of the backend.
    pub probe: Probe,
    /// The way on which it is asked.
    pub via: Via,
    /// Port to ask; `None` asks the backend's own, or the service's first.
    pub port: Option<u16>,
    /// Time from one probe to the next.
    pub interval: Duration,
    /// The same while the backend is down.
    pub interval_down: Duration,
    /// Time that a probe may take.
    pub timeout: Duration,
    /// Successes in a row that bring a down backend up.
    pub healthy_threshold: u32,
    /// Failures in a row that take an up backend down.
    pub unhealthy_threshold: u32,
    /// How often a backend may go down within [`flap_window`](Self::flap_window) before it is held down; 0 for any number.
    pub flap_limit: u32,
    /// How long each time that it went down counts.
    pub flap_window: Duration,
}

/// The way on which a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// At its own address.
    Address,
    /// At the VIP, as clients' packets get there: without translation, through the tunnel if there is one. Where the backend
    /// has another IP version than the VIP, at its own address.
    Path,
}

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// To accept a TCP connection.
    Tcp(TcpProbe),
    /// To answer an HTTP request.
    Http(HttpProbe),
    /// To answer a datagram, or at least not to refuse it.
    Udp(UdpProbe),
    /// To answer a DNS query.
    Dns(DnsProbe),
    /// To say of itself that it serves, by the health protocol of gRPC.
    Grpc(GrpcProbe),
    /// To be found well by a program.
    Command(CommandProbe),
}

/// A TCP connection and what is said on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpProbe {
    /// What to send once connected; empty for nothing.
    pub send: Vec<u8>,
    /// What the backend must say; `None` is content with the connection.
    pub expect: Option<Pattern>,
}

/// An HTTP request and what counts as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// TLS under HTTP; `None` for plain text.
    pub tls: Option<Tls>,
    /// The method of the request.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` header; `None` sends the backend's address.
    pub host: Option<String>,
    /// Further headers, names in lower case, ascending and distinct.
    pub headers: Vec<(String, String)>,
    /// Lowest and highest status that counts as healthy.
    pub expect_status: (u16, u16),
    /// What the body must have; `None` leaves it unread.
    pub expect_body: Option<Pattern>,
}

/// A datagram and what counts as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpProbe {
    /// The datagram; it may be empty.
    pub send: Vec<u8>,
    /// What the backend must answer; `None` is content with anything but an ICMP error.
    pub expect: Option<Pattern>,
}

/// A DNS query and what counts as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The name that is looked up.
    pub query: Name<Vec<u8>>,
    /// The type of the records that are looked up.
    pub query_type: Rtype,
    /// What the query goes over.
    pub transport: Protocol,
    /// The response code that counts as healthy.
    pub expect_rcode: Rcode,
    /// What one of the answers must be, as zone files write it; `None` does not look at them.
    pub expect_answer: Option<String>,
}

/// A call of the health protocol of gRPC, `grpc.health.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcProbe {
    /// TLS under HTTP/2; `None` for plain text.
    pub tls: Option<Tls>,
    /// The service that is asked about; empty for the server as a whole.
    pub service: String,
    /// The authority of the request; `None` sends the backend's address.
    pub host: Option<String>,
}

/// A program that is run to probe a backend. In its arguments and its environment, `{backend}`, `{address}` and `{port}`
/// stand for the backend's name and for where it is to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandProbe {
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment beside `PATH`, by name, ascending and distinct.
    pub env: Vec<(String, String)>,
}

/// The client's side of TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The name to ask for and to find in the certificate; `None` takes the host's, or else the address.
    pub sni: Option<String>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in a PEM file.
    Authorities(PathBuf),
    /// Anybody's, for any name.
    Anyone,
}

/// What an answer must have somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A match of this regular expression, in the syntax of the `regex` crate.
    Regex(String),
}

//! Hosts in network namespaces, with real processes on them.

mod balancer;
mod body;
mod decap;
mod direct;
mod farm;
mod http;
mod link;
mod load;
mod namespace;
mod ping;
mod pins;
mod process;
mod prometheus;
mod quic;
mod servers;
mod service;
mod site;
mod terminal;
mod topology;
mod trace;
mod traffic;
mod udp;
mod wait;
mod xdp;

pub use balancer::{Balancer, Settings};
pub use body::{Checksum, Sequence, assert_bodies_arrive_whole};
pub use decap::Decap;
pub use farm::Farm;
pub use http::{Connection, Reply, get, get_from, put};
pub use link::Link;
pub(crate) use load::SetOnDrop;
pub use load::requests_during;
pub use namespace::Namespace;
pub use ping::ping;
pub(crate) use pins::PinDirectory;
pub use process::Process;
pub use prometheus::Prometheus;
pub use quic::{QuicClient, QuicFarm};
pub use servers::{HttpServer, UdpServer};
pub use service::Service;
pub use site::Site;
pub use terminal::Terminal;
pub use topology::{Arms, Network};
pub use trace::{Checksums, Tracer};
pub use traffic::{Harm, Servers, Toll, under_load};
pub use udp::UdpClient;
pub use wait::eventually;
pub use xdp::{PassProgram, XdpProgram};

/// Path of a program that is built with this crate or beside it.
pub fn program(name: &str) -> std::path::PathBuf {
    // Test and demo executables stand in the target directory's profile folder or in its `deps`.
    let this = std::env::current_exe().expect("a running program has a path");
    this.ancestors()
        .skip(1)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not built: run the tests by `cargo xtask test`"))
}

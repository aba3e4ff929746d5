//! Hosts in network namespaces, with real processes on them.

mod balancer;
mod http;
mod namespace;
mod pins;
mod process;
mod servers;
mod topology;

pub use balancer::Balancer;
pub use http::{Reply, get, get_from, put};
pub use namespace::Namespace;
pub(crate) use pins::PinDirectory;
pub use process::Process;
pub use servers::{HttpServer, UdpServer};
pub use topology::{Arms, Network};

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

//! Programs that the distribution provides.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{Purpose, apt, no_services};

/// A program, and the packages of Debian and Ubuntu that provide it.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
    /// A service that they install, which nobody here needs.
    service: Option<&'static str>,
    needed_for: Purpose,
}

const PROGRAMS: [Program; 9] = [
    Program {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
        service: None,
        needed_for: Purpose::Build,
    },
    Program {
        name: "ip",
        packages: &["iproute2"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "ethtool",
        packages: &["ethtool"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "curl",
        packages: &["curl"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "nsenter",
        packages: &["util-linux"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "mount",
        packages: &["mount"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "prometheus",
        packages: &["prometheus"],
        service: Some("prometheus"),
        needed_for: Purpose::Test,
    },
    Program {
        name: "promtool",
        packages: &["prometheus"],
        service: Some("prometheus"),
        needed_for: Purpose::Test,
    },
    Program {
        name: "scapy",
        packages: &["python3-scapy"],
        service: None,
        needed_for: Purpose::Test,
    },
];

/// What the balancer is compared with.
const PEERS: [Program; 3] = [
    Program {
        name: "nft",
        packages: &["nftables"],
        service: None,
        needed_for: Purpose::Run,
    },
    Program {
        name: "haproxy",
        packages: &["haproxy"],
        service: Some("haproxy"),
        needed_for: Purpose::Run,
    },
    Program {
        name: "nginx",
        packages: &["nginx-light", "libnginx-mod-stream"],
        service: Some("nginx"),
        needed_for: Purpose::Run,
    },
];

/// Installs the programs that are missing, in one go.
pub(super) fn ensure(purpose: Purpose) -> Result<()> {
    install_missing(PROGRAMS.iter().filter(|program| program.needed_for <= purpose))
}

/// Installs what the balancer is compared with.
pub(super) fn ensure_peers() -> Result<()> {
    install_missing(&PEERS)
}

fn install_missing<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Result<()> {
    let missing: Vec<&Program> = programs
        .into_iter()
        .filter(|program| find(program.name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|program| program.packages).copied().collect();
    apt::install(&packages).with_context(|| format!("missing programs: {}", names.join(", ")))?;
    let mut services: Vec<&str> = missing.iter().filter_map(|program| program.service).collect();
    services.dedup();
    no_services::disable(&services)
}

/// The path of a program. A user's `PATH` may lack the folders of the system's programs, which root's has.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

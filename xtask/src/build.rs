//! Building the balancer.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// The task: builds the binary and says where it is.
pub(crate) fn run(release: bool) -> Result<()> {
    let binary = balancer(release)?;
    eprintln!("built {}", binary.display());
    Ok(())
}

/// Builds the balancer, and gives the path of the binary, which needs no other file.
pub(crate) fn balancer(release: bool) -> Result<PathBuf> {
    setup::ensure(Purpose::Build)?;
    let (profile, folder) = if release {
        ("release", "release")
    } else {
        ("dev", "debug")
    };
    process::run(workspace::cargo().args(["build", "--package", "balancer", "--profile", profile]))?;
    Ok(workspace::target_dir().join(folder).join("balancer"))
}

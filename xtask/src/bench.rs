//! The benchmarks: builds them and leaves the rest to them.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    privilege, process,
    setup::{self, Purpose},
    workspace,
};

/// The task: returns only if the benchmarks cannot be started.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    setup::ensure(Purpose::Run)?;
    setup::ensure_peers()?;
    // Together, so that the crates they share are built once, with the features of both.
    let packages = ["--package", "balancer", "--package", "balancer-tests"];
    process::run(workspace::cargo().args(["build", "--release", "--bins"]).args(packages))?;
    let target = workspace::target_dir();
    let mut bench = Command::new(target.join("release/bench"));
    bench.arg("--out").arg(target.join("bench")).args(arguments);
    let mut bench = privilege::as_root(bench)?;
    // In place of this process, which has nothing left to do.
    Err(bench.exec()).with_context(|| format!("cannot start `{}`", process::command_line(&bench)))
}

//! The demo: builds it and the balancer, and leaves the rest to it.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    privilege, process,
    setup::{self, Purpose},
    workspace,
};

/// The task: returns only if the demo cannot be started.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Purpose::Run)?;
    // Together, so that the crates they share are built once, with the features of both.
    let packages = ["--package", "balancer", "--package", "balancer-tests"];
    process::run(workspace::cargo().args(["build", "--release", "--bins"]).args(packages))?;
    let mut demo = privilege::as_root(Command::new(workspace::target_dir().join("release/demo")))?;
    // In place of this process: whoever presses Ctrl-C gets the prompt back when the demo has cleaned up.
    Err(demo.exec()).with_context(|| format!("cannot start `{}`", process::command_line(&demo)))
}

//! Every check there is, in order; the first that fails ends the run.
//!
//! Format and lints come first, since they are quick to fail and quick to mend. The tests come last, so that what stays
//! on the screen is their summary.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    privilege, process,
    setup::{self, Purpose, nextest, toolchain},
    workspace,
};

/// What is built and run on this machine: all but the eBPF crate, which has a target of its own.
const USER_SPACE: [&str; 3] = ["--workspace", "--exclude", "balancer-ebpf"];
const WARNINGS_ARE_ERRORS: [&str; 3] = ["--", "-D", "warnings"];

/// The task: runs the checks, and returns only if one fails.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Purpose::Test)?;
    for (title, check) in CHECKS {
        headline(title);
        check().with_context(|| format!("{title}: the check failed"))?;
    }
    headline("tests");
    tests()
}

type Check = fn() -> Result<()>;

const CHECKS: [(&str, Check); 4] = [
    ("format", format),
    ("lints", lints),
    ("lints of the eBPF programs", ebpf_lints),
    ("examples in the documentation", doc_tests),
];

fn headline(title: &str) {
    eprintln!("\n=== {title} ===");
}

fn format() -> Result<()> {
    process::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let mut clippy = workspace::cargo();
    clippy.arg("clippy").args(USER_SPACE).arg("--all-targets");
    process::run(clippy.args(WARNINGS_ARE_ERRORS))
}

/// The eBPF crate is linted for its real target, which takes clippy and the source of `core` in one toolchain.
fn ebpf_lints() -> Result<()> {
    let Some(toolchain) = toolchain::find(&["cargo", "cargo-clippy"]) else {
        eprintln!("skipped: no toolchain has both clippy and the source of `core`");
        return Ok(());
    };
    let mut clippy = toolchain.cargo()?;
    clippy
        .args(["clippy", "--package", "balancer-ebpf", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core", "--target-dir"])
        // Of its own: the other builds don't set RUSTC_BOOTSTRAP, and crates that look at it would be built in turns.
        .arg(workspace::target_dir().join("ebpf"));
    process::run(clippy.args(WARNINGS_ARE_ERRORS))
}

fn doc_tests() -> Result<()> {
    process::run(workspace::cargo().args(["test", "--quiet", "--doc"]).args(USER_SPACE))
}

/// Builds the tests as the user who runs this, runs them as root, and leaves the exit to them.
fn tests() -> Result<()> {
    if !privilege::is_root() {
        process::run(nextest_run()?.arg("--no-run"))?;
    }
    let mut tests = privilege::as_root(nextest_run()?)?;
    // Returns only if it cannot be started.
    Err(tests.exec()).with_context(|| format!("cannot start `{}`", process::command_line(&tests)))
}

fn nextest_run() -> Result<Command> {
    let program = nextest::find().context("cargo-nextest is gone: run `cargo xtask setup --tests`")?;
    let mut nextest = Command::new(program);
    nextest
        .current_dir(workspace::root())
        .args(["nextest", "run"])
        .args(USER_SPACE)
        .stdin(Stdio::null());
    Ok(nextest)
}

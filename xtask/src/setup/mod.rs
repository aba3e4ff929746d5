//! The set-up: finds what is missing and installs only that.
//!
//! | module | sees to |
//! | --- | --- |
//! | [`programs`] | programs from the distribution: a table of what provides which |
//! | [`no_services`] | that none of these runs by itself |
//! | [`toolchain`] | a Rust compiler with the source of `core`, which the eBPF target needs |
//! | [`linker`] | bpf-linker, built against the [`llvm`] of that compiler |
//! | [`ebpf_tools`] | the note in `target/` by which `balancer/build.rs` finds these two |
//! | [`kernel`] | what the running kernel offers, and the BPF file system |
//! | [`lints`], [`nextest`] | what only the tests run |
//!
//! Nothing that is there already is touched: no toolchain becomes the default, and the tools that are built here go to
//! the project's own cache (`BALANCER_CACHE`, else `~/.cache/balancer`). A second run only looks at files and runs the
//! compiler and the linker once each for their versions.

mod apt;
mod cargo_install;
mod core_source;
mod ebpf_tools;
mod kernel;
mod linker;
mod lints;
mod llvm;
pub(crate) mod nextest;
mod no_services;
mod programs;
pub(crate) mod toolchain;

use anyhow::{Result, bail};

/// What the set-up is for. Each purpose includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building the balancer.
    Build,
    /// Running it in network namespaces.
    Run,
    /// Running every check.
    Test,
}

/// The task: sets up, and says so where there was nothing to do.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    ensure(purpose)?;
    eprintln!("everything that is needed is there");
    Ok(())
}

/// Installs the programs that the benchmarks compare the balancer with.
pub(crate) fn ensure_peers() -> Result<()> {
    programs::ensure_peers()
}

/// Sets up what `purpose` needs.
///
/// A part that fails does not keep the others from being tried; the error lists all that failed.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the balancer runs on Linux only");
    }
    let mut parts = vec![programs::ensure(purpose), ebpf_tools::ensure()];
    if purpose >= Purpose::Run {
        kernel::advise();
        parts.push(kernel::ensure_bpffs());
    }
    if purpose >= Purpose::Test {
        parts.push(lints::ensure());
        parts.push(nextest::ensure());
    }
    let failures: Vec<String> = parts
        .into_iter()
        .filter_map(|part| part.err().map(|error| format!("\n- {error:#}")))
        .collect();
    if !failures.is_empty() {
        bail!("the set-up is not complete:{}", failures.concat());
    }
    Ok(())
}

//! Getting a toolchain with the source of `core`, where none is installed.
//!
//! First rustup is asked to add the source to the active toolchain, and to install the release that the workspace names
//! if the active one is too new for the linker. Where rustup's server is out of reach, the distribution's compiler is
//! installed with its source. Whichever it is, the active toolchain stays what it is.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    apt::{self, Candidate},
    programs,
    toolchain::{self, Toolchain},
};
use crate::process;

/// rustup waits long for a server that does not answer.
const COMPONENT_LIMIT: Duration = Duration::from_mins(2);
const TOOLCHAIN_LIMIT: Duration = Duration::from_mins(15);

/// A toolchain that can build the eBPF programs; installs one if there is none.
pub(super) fn ensure() -> Result<Toolchain> {
    let mut failures = Vec::new();
    for install in [|| Ok(()), from_rustup, from_distribution] {
        if let Err(error) = install() {
            failures.push(format!("\n  - {error:#}"));
        } else if let Some(toolchain) = find() {
            return Ok(toolchain);
        }
    }
    let (major, minor) = toolchain::oldest_release();
    bail!(
        "there is no Rust toolchain for the eBPF programs; it takes release {major}.{minor} or newer, LLVM {} or older, \
         and the source of `core` (`rustup component add rust-src`){}",
        toolchain::newest_llvm(),
        failures.concat()
    )
}

fn find() -> Option<Toolchain> {
    toolchain::find(&["cargo"])
}

fn from_rustup() -> Result<()> {
    if programs::find("rustup").is_none() {
        bail!("there is no rustup");
    }
    process::run_quietly_within(
        COMPONENT_LIMIT,
        "adding rust-src to the active toolchain",
        Command::new("rustup").args(["component", "add", "rust-src"]),
    )?;
    if find().is_some() {
        return Ok(());
    }
    let release = env!("CARGO_PKG_RUST_VERSION");
    process::run_quietly_within(
        TOOLCHAIN_LIMIT,
        &format!("installing Rust {release} beside the active toolchain"),
        Command::new("rustup").args(["toolchain", "install", release]).args([
            "--profile",
            "minimal",
            "--component",
            "rust-src",
            "--no-self-update",
        ]),
    )
}

fn from_distribution() -> Result<()> {
    let candidates =
        apt::candidates("^rustc(-web|-[0-9.]+)?$").context("cannot look for the distribution's compiler")?;
    let Some(packages) = newest(&candidates) else {
        bail!("the distribution has no compiler that is new enough");
    };
    apt::install(&packages.each_ref().map(String::as_str))
}

/// The packages with the newest compiler, its cargo and its source, if it is new enough.
///
/// Beside `rustc` there is `rustc-web` in Debian's security updates, kept new for the browsers, and `rustc-1.NN` in
/// Ubuntu's updates.
fn newest(compilers: &[Candidate]) -> Option<[String; 3]> {
    let release = |candidate: &&Candidate| toolchain::parse_release(&candidate.version);
    let newest = compilers.iter().max_by_key(release)?;
    if release(&newest)? < toolchain::oldest_release() {
        return None;
    }
    let variant = newest.package.strip_prefix("rustc")?;
    Some([
        newest.package.clone(),
        format!("cargo{variant}"),
        format!("rust{variant}-src"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(compilers: &[(&str, &str)]) -> Option<[String; 3]> {
        let candidates: Vec<Candidate> = compilers
            .iter()
            .map(|&(package, version)| Candidate {
                package: package.into(),
                version: version.into(),
            })
            .collect();
        newest(&candidates)
    }

    #[test]
    fn the_newest_compiler_comes_with_its_own_cargo_and_source() {
        for (compilers, packages) in [
            (
                &[("rustc", "1.63.0+dfsg1-2"), ("rustc-web", "1.996.0+dfsg1-1~deb12u2")][..],
                ["rustc-web", "cargo-web", "rust-web-src"],
            ),
            (
                &[("rustc-1.999", "1.999.1+dfsg0ubuntu1"), ("rustc-1.998", "1.998.0")],
                ["rustc-1.999", "cargo-1.999", "rust-1.999-src"],
            ),
            (&[("rustc", "1.999.0")], ["rustc", "cargo", "rust-src"]),
        ] {
            assert_eq!(newest_of(compilers), Some(packages.map(String::from)), "{compilers:?}");
        }
    }

    #[test]
    fn a_compiler_that_is_too_old_is_not_installed() {
        assert_eq!(newest_of(&[("rustc", "1.63.0+dfsg1-2")]), None);
        assert_eq!(newest_of(&[]), None);
    }
}

//! Rust toolchains that are installed, and which of them can build the eBPF programs.
//!
//! The eBPF target has no built `core`: cargo builds it from source (`-Z build-std=core`), which takes the source, and a
//! nightly compiler or `RUSTC_BOOTSTRAP=1`. Any toolchain that has the source will do, whoever installed it; a toolchain
//! is known by its folder (its sysroot), which `rustup run` and cargo take alike.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::llvm;
use crate::{process, workspace};

/// A toolchain and what its compiler says of itself.
pub(crate) struct Toolchain {
    pub(super) sysroot: PathBuf,
    pub(super) compiler: Compiler,
}

impl Toolchain {
    pub(super) fn at(sysroot: PathBuf) -> Result<Self> {
        let version = process::output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
        let compiler = Compiler::parse(&version)
            .with_context(|| format!("the compiler in {} does not tell its version", sysroot.display()))?;
        Ok(Self { sysroot, compiler })
    }

    /// This toolchain's cargo, with its own compiler and tools, allowed to build `core`.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let programs = self.sysroot.join("bin");
        let mut cargo = Command::new(programs.join("cargo"));
        let path = env::var_os("PATH").unwrap_or_default();
        cargo
            .current_dir(workspace::root())
            .env(
                "PATH",
                env::join_paths([programs].into_iter().chain(env::split_paths(&path)))?,
            )
            .env("RUSTUP_TOOLCHAIN", &self.sysroot)
            .env("RUSTC_BOOTSTRAP", "1");
        Ok(cargo)
    }
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    /// The line that names this very build.
    pub(super) name: String,
    /// Major and minor number.
    pub(super) release: (u32, u32),
    /// Major version of the LLVM that it generates code with.
    pub(super) llvm: u32,
}

impl Compiler {
    fn parse(version: &str) -> Option<Self> {
        let field = |name| version.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            name: version.lines().next()?.into(),
            release: parse_release(field("release: ")?)?,
            llvm: field("LLVM version: ")?.split('.').next()?.parse().ok()?,
        })
    }
}

/// The oldest release that builds this workspace.
pub(super) fn oldest_release() -> (u32, u32) {
    // The manifest's version has two numbers; were it unreadable, cargo itself would refuse an older compiler.
    parse_release(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default()
}

/// The newest LLVM whose bitcode the linker reads.
pub(super) fn newest_llvm() -> u32 {
    *llvm::SUPPORTED.end()
}

/// The first two numbers of a version.
pub(super) fn parse_release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '+', '~']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The toolchain of the cargo that runs this program.
pub(super) fn active_sysroot() -> Result<PathBuf> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(sysroot.trim_end().into())
}

/// An installed toolchain that can build the eBPF programs and has these programs: the active one before others.
pub(crate) fn find(programs: &[&str]) -> Option<Toolchain> {
    let has = |sysroot: &Path, program| sysroot.join("bin").join(program).is_file();
    installed()
        .into_iter()
        .filter(|sysroot| has_core_source(sysroot) && programs.iter().all(|program| has(sysroot, program)))
        .filter_map(|sysroot| Toolchain::at(sysroot).ok())
        .find(|toolchain| toolchain.compiler.release >= oldest_release() && toolchain.compiler.llvm <= newest_llvm())
}

/// The toolchain in a folder, if its compiler still is the one of that name and it still has the source of `core`.
pub(super) fn is_unchanged(sysroot: &Path, compiler: &str) -> bool {
    has_core_source(sysroot) && Toolchain::at(sysroot.into()).is_ok_and(|toolchain| toolchain.compiler.name == compiler)
}

fn has_core_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// The active toolchain, those of rustup, and those of the distribution: Debian's is in `/usr`, and Ubuntu has several
/// side by side in `/usr/lib/rust-VERSION`.
pub(super) fn installed() -> Vec<PathBuf> {
    let mut sysroots = Vec::from_iter(active_sysroot());
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
    if let Some(rustup) = rustup {
        sysroots.extend(folders(&rustup.join("toolchains"), ""));
    }
    sysroots.push("/usr".into());
    sysroots.extend(folders(Path::new("/usr/lib"), "rust-"));
    sysroots
}

/// The entries of a folder whose names begin with `prefix`, in order.
fn folders(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_is_known_by_its_build_release_and_llvm() {
        let version = "\
rustc 1.97.0-nightly (e50aa6fba 2026-05-19)
binary: rustc
host: x86_64-unknown-linux-gnu
release: 1.97.0-nightly
LLVM version: 22.1.4
";
        let compiler = Compiler {
            name: "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)".into(),
            release: (1, 97),
            llvm: 22,
        };
        assert_eq!(Compiler::parse(version), Some(compiler));
    }

    #[test]
    fn releases_are_read_from_compilers_manifests_and_packages() {
        for (version, release) in [
            ("1.95", Some((1, 95))),
            ("1.97.0-nightly", Some((1, 97))),
            ("1.96.0+dfsg1-1~deb12u2", Some((1, 96))),
            ("nonsense", None),
        ] {
            assert_eq!(parse_release(version), release, "{version}");
        }
        assert!(oldest_release() > (1, 0));
    }
}

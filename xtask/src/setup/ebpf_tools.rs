//! The tools that build the eBPF programs, and the note by which the balancer's build script finds them.
//!
//! The note is `target/ebpf-tools` in the repository, wherever `CARGO_TARGET_DIR` points: a line `NAME=VALUE` for each
//! field of [`EbpfTools`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{core_source, linker, toolchain};
use crate::workspace;

/// What builds the eBPF programs.
#[derive(Debug, PartialEq, Eq)]
struct EbpfTools {
    /// The folder of a toolchain with the source of `core`.
    toolchain: PathBuf,
    /// The folder that has a bpf-linker for it.
    linker: PathBuf,
    /// The line by which the toolchain's compiler names its build: with another one the linker may be too old.
    compiler: String,
}

/// Finds or installs the tools and notes them down; only checks them if they are noted down already.
pub(super) fn ensure() -> Result<()> {
    let note = note();
    if EbpfTools::read(&note).is_ok_and(|tools| tools.are_usable()) {
        return Ok(());
    }
    let toolchain = core_source::ensure()?;
    let linker = linker::ensure(&toolchain)?;
    let tools = EbpfTools {
        toolchain: toolchain.sysroot,
        linker,
        compiler: toolchain.compiler.name,
    };
    tools
        .write(&note)
        .with_context(|| format!("cannot write {}", note.display()))
}

fn note() -> PathBuf {
    workspace::root().join("target/ebpf-tools")
}

impl EbpfTools {
    fn are_usable(&self) -> bool {
        toolchain::is_unchanged(&self.toolchain, &self.compiler) && linker::is_in(&self.linker)
    }

    fn read(note: &Path) -> Result<Self> {
        let text = fs::read_to_string(note).with_context(|| format!("cannot read {}", note.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not complete: remove it", note.display()))
    }

    /// Leaves a note alone that says the same already: the build script runs again for each that is newer.
    fn write(&self, note: &Path) -> Result<()> {
        let text = self.format();
        if fs::read_to_string(note).is_ok_and(|old| old == text) {
            return Ok(());
        }
        fs::create_dir_all(note.parent().context("it has no folder")?)?;
        Ok(fs::write(note, text)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.split_once('=').filter(|(field, _)| *field == name))
                .map(|(_, value)| value.to_owned())
        };
        Some(Self {
            toolchain: field("toolchain")?.into(),
            linker: field("linker")?.into(),
            compiler: field("compiler")?,
        })
    }

    fn format(&self) -> String {
        let Self {
            toolchain,
            linker,
            compiler,
        } = self;
        format!(
            "toolchain={}\nlinker={}\ncompiler={compiler}\n",
            toolchain.display(),
            linker.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_noted_down() {
        let tools = EbpfTools {
            toolchain: "/home/me/.rustup/toolchains/stable".into(),
            linker: "/home/me/.cache/balancer/bpf-linker=1/bin".into(),
            compiler: "rustc 1.95.0 (59807616e 2026-04-14)".into(),
        };
        assert_eq!(EbpfTools::parse(&tools.format()), Some(tools));
    }

    #[test]
    fn half_a_note_is_none() {
        assert_eq!(EbpfTools::parse("toolchain=/usr\nlinker=/usr/bin\n"), None);
    }
}

//! Building a tool from the crate registry into the project's own cache.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{process, workspace};

/// A pinned version of a crate with a program.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// What its build takes on two cores.
    pub(super) takes: &'static str,
}

impl Tool {
    /// Builds the tool with these features and no default ones. The program is then in `bin` of the folder `root`.
    pub(super) fn install(&self, root: &Path, features: &str, environment: &[(&str, &Path)]) -> Result<()> {
        let Self { name, version, takes } = self;
        let mut cargo = workspace::cargo();
        cargo
            .args(["install", name, "--version", version, "--locked", "--force"])
            // Optimising would double the wait, and neither tool does work of its own that would win it back.
            .args(["--debug", "--config", "profile.dev.debug=false"])
            .args(["--no-default-features", "--features", features, "--root"])
            .arg(root)
            .envs(environment.iter().copied())
            // Without it cargo builds in a folder that it removes afterwards.
            .env_remove("CARGO_TARGET_DIR");
        process::run_quietly(&format!("building {name} {version} ({takes})"), &mut cargo)
    }

    /// Whether the program at this path is this version of the tool, and starts.
    pub(super) fn is_at(&self, program: &Path) -> bool {
        let version = process::output(Command::new(program).arg("--version"));
        version.is_ok_and(|version| version.starts_with(&format!("{} {}", self.name, self.version)))
    }
}

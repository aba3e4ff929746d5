//! rustfmt and clippy of the active toolchain.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{programs, toolchain};
use crate::process;

const RUSTUP_LIMIT: Duration = Duration::from_mins(5);

/// The components, with the program of each that cargo runs.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")];

/// Adds the components that are missing.
pub(super) fn ensure() -> Result<()> {
    let programs_folder = toolchain::active_sysroot()?.join("bin");
    let missing: Vec<&str> = COMPONENTS
        .iter()
        .filter(|(_, program)| !programs_folder.join(program).is_file())
        .map(|(component, _)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if programs::find("rustup").is_none() {
        bail!("{names} are missing: install them for the toolchain of your cargo");
    }
    process::run_quietly_within(
        RUSTUP_LIMIT,
        &format!("adding {names} to the active toolchain"),
        Command::new("rustup").args(["component", "add"]).args(missing),
    )
    .with_context(|| format!("{names} are missing"))
}

//! cargo-nextest, which runs the tests.

use std::path::PathBuf;

use anyhow::Result;

use super::{cargo_install::Tool, programs};
use crate::workspace;

const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
    takes: "about two minutes",
};

/// Builds cargo-nextest, if the user has none and neither has the cache.
pub(super) fn ensure() -> Result<()> {
    if find().is_some() {
        return Ok(());
    }
    NEXTEST.install(&root()?, "default-no-update", &[])
}

/// The program: the user's own in any version, else the one in the cache.
pub(crate) fn find() -> Option<PathBuf> {
    programs::find(NEXTEST.name).or_else(|| {
        let program = root().ok()?.join("bin").join(NEXTEST.name);
        NEXTEST.is_at(&program).then_some(program)
    })
}

fn root() -> Result<PathBuf> {
    Ok(workspace::cache_dir()?.join(format!("cargo-nextest-{}", NEXTEST.version)))
}

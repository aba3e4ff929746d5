//! Where things are in the repository and in the user's cache.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo leaves what it builds.
pub(crate) fn target_dir() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where tools are kept that are built once: `BALANCER_CACHE`, else `balancer` in the user's cache.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("BALANCER_CACHE")
        .or_else(|| Some(path("XDG_CACHE_HOME")?.join("balancer")))
        .or_else(|| Some(path("HOME")?.join(".cache/balancer")))
        .context("there is no folder for built tools: set BALANCER_CACHE to one")
}

/// The cargo that runs this program, started at the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

//! bpf-linker, which turns the compiler's bitcode into the BPF object.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{cargo_install::Tool, llvm, toolchain::Toolchain};
use crate::workspace;

const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.13.0",
    takes: "about half a minute",
};

/// The folder with a bpf-linker for this toolchain; builds it if the cache has none.
///
/// One that the user has is not taken: nothing says which LLVM it was built with.
pub(super) fn ensure(toolchain: &Toolchain) -> Result<PathBuf> {
    let llvm = llvm::ensure(toolchain)?;
    let llvm_name = llvm.prefix.file_name().context("the folder of LLVM has no name")?;
    let root = workspace::cache_dir()?.join(format!("bpf-linker-{}-{}", BPF_LINKER.version, llvm_name.display()));
    let folder = root.join("bin");
    if !is_in(&folder) {
        let feature = format!("llvm-{}", llvm.major);
        BPF_LINKER.install(&root, &feature, &[("LLVM_PREFIX", &llvm.prefix)])?;
    }
    Ok(folder)
}

/// Whether a folder has the pinned bpf-linker, and it finds its LLVM.
pub(super) fn is_in(folder: &Path) -> bool {
    BPF_LINKER.is_at(&folder.join(BPF_LINKER.name))
}

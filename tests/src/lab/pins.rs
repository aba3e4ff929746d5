//! A directory for pins, of each daemon its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Where the BPF file system is mounted.
const BPF_FS: &str = "/sys/fs/bpf";

/// Beginning of the name of every pin directory that is made here. The process's number follows.
const PREFIX: &str = "balancer-test-";

/// The path of a pin directory that does not exist yet. When it goes, so does what was pinned there.
#[derive(Debug)]
pub(crate) struct PinDirectory(PathBuf);

impl PinDirectory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        Self(Path::new(BPF_FS).join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes the pins of test processes that were killed before they could.
fn remove_orphans() {
    for entry in fs::read_dir(BPF_FS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            remove(&entry.path());
        }
    }
}

/// Unpins everything under `directory`. What is gone already needs no removal.
fn remove(directory: &Path) {
    let _gone: io::Result<()> = fs::remove_dir_all(directory);
}

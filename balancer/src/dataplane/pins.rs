//! Where the data plane is pinned, and who owns it.
//!
//! ```text
//! <pin_path>/v<ABI>/maps/<MAP>       every map
//! <pin_path>/v<ABI>/links/<INTERFACE>  the attachment to each interface
//! ```
//!
//! The version in the path keeps a program from reopening maps of another layout: the kernel does not check that. The
//! directory itself is locked by the daemon that owns the data plane.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use balancer_common::abi;
use rustix::{
    fs::{FlockOperation, flock, statfs},
    io::Errno,
};

use super::syscall;

/// Magic number of the BPF file system (`BPF_FS_MAGIC` in linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where the BPF file system is mounted by convention.
const BPF_FS: &str = "/sys/fs/bpf";

/// The pinned objects of one data plane.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl Pins {
    /// Makes the directories under `pin_path` if they are missing, and takes the lock.
    ///
    /// # Errors
    ///
    /// If `pin_path` is not on a BPF file system, or another daemon holds the lock.
    pub fn claim(pin_path: &Path) -> anyhow::Result<Self> {
        mount_conventional(pin_path)?;
        require_bpf_fs(pin_path)?;
        let root = pin_path.join(format!("v{}", abi::VERSION));
        for directory in [root.join("maps"), root.join("links")] {
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let lock = lock(pin_path)?;
        Ok(Self { root, _lock: lock })
    }

    /// Takes the lock of what is already there; `None` if nothing is.
    pub fn claim_existing(pin_path: &Path) -> anyhow::Result<Option<Self>> {
        let root = pin_path.join(format!("v{}", abi::VERSION));
        if !root.exists() {
            return Ok(None);
        }
        let lock = lock(pin_path)?;
        Ok(Some(Self { root, _lock: lock }))
    }

    /// Path of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Path of the attachment to an interface.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.root.join("links").join(interface)
    }

    /// Names of the interfaces that have an attachment.
    pub fn links(&self) -> anyhow::Result<Vec<String>> {
        let directory = self.root.join("links");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Takes the program off an interface and removes the pin. When this returns, the program is not called any more.
    pub fn detach(&self, interface: &str) -> anyhow::Result<()> {
        let path = self.link(interface);
        syscall::detach_link(&path).with_context(|| format!("cannot detach from {interface}"))?;
        remove_file(&path)
    }

    /// Removes every pinned object, attachments first, and the directories. What nothing else holds open is then gone
    /// from the kernel. Returns the interfaces that were attached.
    pub fn remove(self) -> anyhow::Result<Vec<String>> {
        let interfaces = self.links()?;
        for interface in &interfaces {
            self.detach(interface)?;
        }
        self.remove_unattached()?;
        Ok(interfaces)
    }

    fn remove_unattached(&self) -> anyhow::Result<()> {
        let maps = self.root.join("maps");
        for entry in fs::read_dir(&maps)? {
            remove_file(&entry?.path())?;
        }
        for directory in [&self.root.join("links"), &maps, &self.root] {
            fs::remove_dir(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        // Another version's objects may be beside these, and the directory may be the operator's own.
        if let Some(pin_path) = self.root.parent() {
            let _others_remain: io::Result<()> = fs::remove_dir(pin_path);
        }
        Ok(())
    }
}

impl Drop for Pins {
    /// Maps that no attachment uses are of no use, so a start that fails leaves nothing behind.
    fn drop(&mut self) {
        let unattached = self.links().is_ok_and(|links| links.is_empty());
        if unattached && let Err(error) = self.remove_unattached() {
            tracing::warn!("{error:#}");
        }
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn lock(pin_path: &Path) -> anyhow::Result<File> {
    let directory = File::open(pin_path).with_context(|| format!("cannot open {}", pin_path.display()))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => bail!(
            "another daemon owns the data plane at {}: stop it, or give this one its own dataplane.pin_path",
            pin_path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", pin_path.display())),
    }
}

/// Mounts the BPF file system where it belongs if `pin_path` is there and nothing is mounted yet, as systemd does at
/// boot.
fn mount_conventional(pin_path: &Path) -> anyhow::Result<()> {
    if !pin_path.starts_with(BPF_FS) || on_bpf_fs(Path::new(BPF_FS)) {
        return Ok(());
    }
    rustix::mount::mount("bpf", BPF_FS, "bpf", rustix::mount::MountFlags::empty(), None).with_context(|| {
        format!("cannot mount a BPF file system at {BPF_FS}: run as root, or `mount -t bpf bpf {BPF_FS}`")
    })?;
    tracing::info!("mounted a BPF file system at {BPF_FS}");
    Ok(())
}

fn require_bpf_fs(pin_path: &Path) -> anyhow::Result<()> {
    let existing = pin_path.ancestors().find(|path| path.exists()).unwrap_or(pin_path);
    if on_bpf_fs(existing) {
        return Ok(());
    }
    bail!(
        "dataplane.pin_path {} is not on a BPF file system: choose one under {BPF_FS}",
        pin_path.display()
    )
}

fn on_bpf_fs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(BPF_FS_MAGIC))
}

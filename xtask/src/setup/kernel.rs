//! What the running kernel offers, and the file system in which the data plane is pinned.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::toolchain::parse_release;
use crate::{privilege, process};

/// The release from which on everything is known to work.
const ADVISED: (u32, u32) = (6, 6);

/// Says what of the running kernel will make trouble. Nothing here can be installed.
pub(super) fn advise() {
    for advice in Kernel::running().advice() {
        eprintln!("warning: {advice}");
    }
}

/// Mounts the BPF file system, if it is not.
pub(super) fn ensure_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if has_bpffs(&mounts) {
        return Ok(());
    }
    let mut mount = Command::new("mount");
    mount.args(["-t", "bpf", "bpf", "/sys/fs/bpf"]);
    privilege::as_root(mount)
        .and_then(|mut mount| process::run_quietly("mounting the BPF file system", &mut mount))
        .context("the BPF file system is not mounted at /sys/fs/bpf")
}

fn has_bpffs(mounts: &str) -> bool {
    mounts
        .lines()
        .any(|mount| mount.split(' ').skip(1).take(2).eq(["/sys/fs/bpf", "bpf"]))
}

/// What matters of a kernel.
struct Kernel {
    release: String,
    has_btf: bool,
    has_namespaces: bool,
    /// What `net.core.bpf_jit_enable` says; nothing if the kernel has no JIT compiler.
    jit: Option<String>,
}

impl Kernel {
    fn running() -> Self {
        let read = |path| fs::read_to_string(path).map(|text| text.trim_end().to_owned());
        Self {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            has_namespaces: Path::new("/proc/self/ns/net").exists(),
            jit: read("/proc/sys/net/core/bpf_jit_enable").ok(),
        }
    }

    fn advice(&self) -> Vec<String> {
        let (major, minor) = ADVISED;
        let mut advice = Vec::new();
        if parse_release(&self.release).is_some_and(|release| release < ADVISED) {
            advice.push(format!(
                "the kernel is {}; from {major}.{minor} on everything is known to work",
                self.release
            ));
        }
        if !self.has_btf {
            advice.push(
                "the kernel has no type information (/sys/kernel/btf/vmlinux): use one with CONFIG_DEBUG_INFO_BTF"
                    .into(),
            );
        }
        if !self.has_namespaces {
            advice.push("the kernel has no network namespaces: use one with CONFIG_NET_NS".into());
        }
        match self.jit.as_deref() {
            None => advice.push("the kernel has no BPF compiler, so packets take long: use one with CONFIG_BPF_JIT".into()),
            Some("0") => advice.push(
                "the kernel's BPF compiler is off, so packets take long: `sysctl net.core.bpf_jit_enable=1` turns it on"
                    .into(),
            ),
            Some(_) => {}
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Kernel {
        Kernel {
            release: "6.18.44-generic".into(),
            has_btf: true,
            has_namespaces: true,
            jit: Some("1".into()),
        }
    }

    #[test]
    fn a_good_kernel_gets_no_advice() {
        assert!(good().advice().is_empty());
    }

    #[test]
    fn each_shortcoming_is_named() {
        let old = Kernel {
            release: "5.15.0-91-generic".into(),
            ..good()
        };
        let without_btf = Kernel {
            has_btf: false,
            ..good()
        };
        let without_namespaces = Kernel {
            has_namespaces: false,
            ..good()
        };
        let without_jit = Kernel { jit: None, ..good() };
        let jit_off = Kernel {
            jit: Some("0".into()),
            ..good()
        };
        for (kernel, word) in [
            (old, "5.15.0-91-generic"),
            (without_btf, "CONFIG_DEBUG_INFO_BTF"),
            (without_namespaces, "CONFIG_NET_NS"),
            (without_jit, "CONFIG_BPF_JIT"),
            (jit_off, "bpf_jit_enable=1"),
        ] {
            let advice = kernel.advice();
            assert!(advice.len() == 1 && advice[0].contains(word), "{word}: {advice:?}");
        }
    }

    #[test]
    fn only_a_bpf_mount_in_its_place_counts() {
        assert!(has_bpffs(
            "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"
        ));
        assert!(!has_bpffs("none /sys/fs/bpf tmpfs rw 0 0\nbpf /run/bpf bpf rw 0 0\n"));
    }
}

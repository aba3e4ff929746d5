//! The LLVM that bpf-linker is linked against.
//!
//! bpf-linker reads the bitcode that the compiler writes, so its LLVM must be at least as new as the compiler's. The
//! surest is the very library that the compiler loads, which comes with rustup's toolchains and Debian's; bpf-linker
//! needs no more of LLVM than that file. A compiler with LLVM inside itself, such as Ubuntu's, leaves the library of
//! another toolchain or the distribution's.

use std::{
    fs, io, iter,
    ops::RangeInclusive,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    toolchain::{self, Toolchain},
};
use crate::{process, workspace};

/// The major versions that the pinned bpf-linker can be built for.
pub(super) const SUPPORTED: RangeInclusive<u32> = 21..=23;

/// A library and the folder that bpf-linker's build takes it from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Llvm {
    pub(super) major: u32,
    /// The library is `lib/libLLVM.so` in here.
    pub(super) prefix: PathBuf,
}

/// An LLVM for a toolchain: its own, else another toolchain's, else the distribution's, which is installed if it is
/// missing.
pub(super) fn ensure(toolchain: &Toolchain) -> Result<Llvm> {
    let majors = toolchain.compiler.llvm.max(*SUPPORTED.start())..=*SUPPORTED.end();
    let shared = iter::once(toolchain.sysroot.clone())
        .chain(toolchain::installed())
        .filter_map(|sysroot| Toolchain::at(sysroot).ok())
        .filter(|toolchain| majors.contains(&toolchain.compiler.llvm))
        .find_map(|toolchain| Some((toolchain.compiler.llvm, library_of(&toolchain)?)));
    let Some((major, library)) = shared else {
        return from_distribution(majors);
    };
    let prefix = workspace::cache_dir()?.join(format!("llvm-{}", library.name.trim_start_matches("libLLVM.so.")));
    link(&library, &prefix.join("lib")).with_context(|| format!("cannot fill {}", prefix.display()))?;
    Ok(Llvm { major, prefix })
}

/// A shared library by the name under which programs load it.
#[derive(Debug, PartialEq, Eq)]
struct Library {
    name: String,
    path: PathBuf,
}

/// The LLVM library that the toolchain's compiler loads.
fn library_of(toolchain: &Toolchain) -> Option<Library> {
    let libraries = process::output(Command::new("ldd").arg(toolchain.sysroot.join("bin/rustc"))).ok()?;
    parse_ldd(&libraries)
}

/// Finds LLVM among the lines `NAME => PATH (ADDRESS)` that `ldd` writes.
fn parse_ldd(libraries: &str) -> Option<Library> {
    libraries.lines().find_map(|line| {
        let (name, path) = line.trim_start().split_once(" => ")?;
        let (path, _address) = path.rsplit_once(" (")?;
        name.starts_with("libLLVM").then(|| Library {
            name: name.into(),
            path: path.into(),
        })
    })
}

/// Makes the library known by the name that the build looks for, and by the one that the built program loads.
fn link(library: &Library, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["libLLVM.so", &library.name] {
        let link = folder.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == library.path) {
            continue;
        }
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(&library.path, link)?,
        }
    }
    Ok(())
}

/// The oldest of the distribution's versions that will do.
fn from_distribution(majors: RangeInclusive<u32>) -> Result<Llvm> {
    let is_installed = |major: &u32| prefix(*major).join("lib/libLLVM.so").is_file();
    let major = match majors.clone().find(is_installed) {
        Some(major) => major,
        None => install(majors)?,
    };
    Ok(Llvm {
        major,
        prefix: prefix(major),
    })
}

fn install(majors: RangeInclusive<u32>) -> Result<u32> {
    let candidates = apt::candidates("^llvm-[0-9]+-dev$")?;
    let is_candidate = |package: &str| candidates.iter().any(|candidate| candidate.package == package);
    let oldest = *majors.start();
    let Some(major) = majors.into_iter().find(|major| is_candidate(&package(*major))) else {
        bail!(
            "no toolchain has LLVM {oldest} or newer as a shared library, and neither has the distribution: \
             install {} (apt.llvm.org has it)",
            package(oldest)
        );
    };
    apt::install(&[&package(major)])?;
    Ok(major)
}

fn package(major: u32) -> String {
    format!("llvm-{major}-dev")
}

/// Where Debian's packages put a version.
fn prefix(major: u32) -> PathBuf {
    format!("/usr/lib/llvm-{major}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_llvm_is_found_among_its_libraries() {
        let libraries = "\tlinux-vdso.so.1 (0x00007faaac085000)
\tlibrustc_driver-6108.so => /toolchain/bin/../lib/librustc_driver-6108.so (0x00007faa9e000000)
\tlibLLVM.so.22.1-rust-1.95.0-stable => /toolchain/bin/../lib/libLLVM.so.22.1-rust-1.95.0-stable (0x00007faa90000000)
";
        let library = Library {
            name: "libLLVM.so.22.1-rust-1.95.0-stable".into(),
            path: "/toolchain/bin/../lib/libLLVM.so.22.1-rust-1.95.0-stable".into(),
        };
        assert_eq!(parse_ldd(libraries), Some(library));
    }

    #[test]
    fn a_compiler_with_llvm_inside_has_no_library() {
        for libraries in ["\tstatically linked\n", "\tlibLLVM.so.22.1 => not found\n"] {
            assert_eq!(parse_ldd(libraries), None, "{libraries}");
        }
    }
}

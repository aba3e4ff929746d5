//! Builds the eBPF programs and leaves the object in `OUT_DIR`, for the daemon to embed.
//!
//! With which tools, the set-up noted down in `target/ebpf-tools`. Without that note the current toolchain and a
//! `bpf-linker` on `PATH` have to do.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya_build::{Package, Toolchain};

const NOTE: &str = "../target/ebpf-tools";
const ADVICE: &str = "run `cargo xtask setup`";

fn main() -> Result<()> {
    let Tools { toolchain, linker } = Tools::noted().map_or_else(Tools::of_environment, Ok)?;
    let toolchain_name = toolchain.to_str().context("the toolchain's path is not UTF-8")?;
    let old_path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [linker, toolchain.join("bin")]
            .into_iter()
            .chain(env::split_paths(&old_path)),
    )?;
    for (name, value) in [
        ("PATH", path.as_os_str()),
        // The target needs `core` from source, which only a nightly or a compiler that is told so builds.
        ("RUSTC_BOOTSTRAP", "1".as_ref()),
        // The instruction set with 32-bit arithmetic and jumps. With the arithmetic alone, LLVM compares 32-bit values as
        // if they had 64 bits, with constants that it has extended by their sign. aya-build sets the compiler's flags
        // itself, so this one goes by way of the profile, and not to what runs while building.
        ("CARGO_UNSTABLE_PROFILE_RUSTFLAGS", "true".as_ref()),
        ("CARGO_PROFILE_RELEASE_RUSTFLAGS", "-Ctarget-cpu=v3".as_ref()),
        ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_RUSTFLAGS", "".as_ref()),
        // What cargo writes becomes a warning of this script, so it keeps to what is one.
        ("CARGO_TERM_QUIET", "true".as_ref()),
        // Cargo refuses both at once, and a user may have set this one.
        ("CARGO_TERM_VERBOSE", "false".as_ref()),
    ] {
        // SAFETY: the script has one thread, so nothing reads the environment meanwhile.
        unsafe { env::set_var(name, value) };
    }
    // aya-build watches the crate itself.
    for dependency in [
        "../balancer-common/src",
        "../balancer-common/Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={dependency}");
    }
    // The benchmarks have programs of their own among the objects.
    println!("cargo::metadata=objects={}", env::var("OUT_DIR")?);
    let package = Package {
        name: "balancer-ebpf",
        root_dir: "../balancer-ebpf",
        ..Default::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain_name))
        .with_context(|| format!("the eBPF programs were not built; if it is the tools' fault, {ADVICE}"))
}

/// What builds the eBPF programs.
struct Tools {
    /// The folder of a toolchain with the source of `core`.
    toolchain: PathBuf,
    /// The folder that has bpf-linker.
    linker: PathBuf,
}

impl Tools {
    fn noted() -> Option<Self> {
        let note = fs::read_to_string(NOTE).ok()?;
        // Only if it is there: cargo takes a missing file for a changed one, every time.
        println!("cargo::rerun-if-changed={NOTE}");
        let field = |name| note.lines().find_map(|line| line.strip_prefix(name)).map(PathBuf::from);
        Some(Self {
            toolchain: field("toolchain=")?,
            linker: field("linker=")?,
        })
    }

    fn of_environment() -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let Some(linker) = env::split_paths(&path).find(|folder| folder.join("bpf-linker").is_file()) else {
            bail!("bpf-linker is missing: {ADVICE}");
        };
        let rustc = env::var_os("RUSTC").context("cargo did not name its compiler")?;
        let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output()?.stdout;
        let toolchain = PathBuf::from(String::from_utf8(sysroot)?.trim_end());
        ensure!(has_core_source(&toolchain), "the source of `core` is missing: {ADVICE}");
        Ok(Self { toolchain, linker })
    }
}

fn has_core_source(toolchain: &Path) -> bool {
    toolchain.join("lib/rustlib/src/rust/library/core").is_dir()
}

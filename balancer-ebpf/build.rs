//! Options for the BPF linker.

use std::{env, process::Command};

/// The LLVM release whose BPF target knows that memory may be read at any address.
const KNOWS_MISALIGNED_ACCESS: u32 = 22;

fn main() {
    // Headers in a packet are views of bytes, which without this are read one byte at a time.
    if compiler_llvm().is_some_and(|llvm| llvm >= KNOWS_MISALIGNED_ACCESS) {
        println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// The major version of the compiler's LLVM. The linker's is at least as new.
fn compiler_llvm() -> Option<u32> {
    let output = Command::new(env::var_os("RUSTC")?).arg("-vV").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

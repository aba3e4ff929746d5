//! Options for the BPF linker.

fn main() {
    // Headers in a packet are views of bytes, which without this would be read one byte at a time.
    println!("cargo::rustc-link-arg-bins=--cpu-features=+alu32,+allows-misaligned-mem-access");
}

//! Tells the crate where the eBPF objects are that the balancer's build script has built.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let objects = std::env::var("DEP_BALANCER_EBPF_OBJECTS").context("the balancer's build script names the folder")?;
    println!("cargo::rustc-env=EBPF_OBJECTS={objects}");
    Ok(())
}

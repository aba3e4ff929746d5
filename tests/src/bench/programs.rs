//! XDP programs that the kernel runs on packets in memory.

use anyhow::Context as _;
use aya::{Ebpf, programs::Xdp};

/// The XDP program with this name.
///
/// # Errors
///
/// If the object has none.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("there is no program {name}"))?;
    Ok(program.try_into()?)
}

/// `struct xdp_md` (`linux/bpf.h`): where the packet begins and ends, its metadata, the interface it came in by and its
/// queue, the interface it leaves by.
pub(super) fn context(length: usize, ingress: u32) -> Vec<u8> {
    let length = u32::try_from(length).expect("frames are short");
    [0, length, 0, ingress, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect()
}

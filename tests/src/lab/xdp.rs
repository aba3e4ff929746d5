//! XDP programs that are not the balancer's, and a look at those that are.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use serde_json::Value;

use super::Namespace;

/// The XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpProgram {
    /// The kernel's identifier of the program.
    pub id: u64,
    /// Whether it runs on the socket buffer and not in the driver.
    pub generic: bool,
}

/// An XDP program in the driver that passes every packet. It is detached when this goes.
#[derive(Debug)]
pub struct PassProgram {
    _link: OwnedFd,
}

impl Namespace {
    /// The XDP program on an interface, if there is one.
    pub fn xdp(&self, interface: &str) -> Option<XdpProgram> {
        /// `XDP_ATTACHED_SKB` (`linux/if_link.h`).
        const GENERIC: u64 = 2;
        let links: Value = self.ip_json(&format!("-details link show dev {interface}"));
        let xdp = links[0].get("xdp")?;
        Some(XdpProgram {
            id: xdp["prog"]["id"].as_u64()?,
            generic: xdp["mode"].as_u64()? == GENERIC,
        })
    }

    /// Attaches a program that passes every packet to an interface.
    pub fn pass(&self, interface: &str) -> PassProgram {
        let index = self.link(interface).index;
        let link = self.enter(|| load_pass().and_then(|program| attach(&program, index)));
        PassProgram {
            _link: link.unwrap_or_else(|error| panic!("{interface}: {error}")),
        }
    }
}

/// Loads the program `return XDP_PASS`.
fn load_pass() -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` (`linux/bpf.h`) that is needed to load a program.
    #[repr(C)]
    struct Attributes {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }
    const PROG_LOAD: libc::c_long = 5;
    const TYPE_XDP: u32 = 6;
    const LENGTH: u32 = 2;
    /// `r0 = XDP_PASS; exit`, each instruction eight bytes: operation, registers, offset, operand (RFC 9669).
    const PROGRAM: [[u8; 8]; LENGTH as usize] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let license = c"Dual MIT/GPL";
    let attributes = Attributes {
        program_type: TYPE_XDP,
        instruction_count: LENGTH,
        instructions: PROGRAM.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: the attributes are those of the command, and what they point to outlives the call.
    unsafe { bpf(PROG_LOAD, &attributes) }
}

/// Attaches a program to an interface of the calling thread's namespace.
fn attach(program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` (`linux/bpf.h`) that is needed to attach a program.
    #[repr(C)]
    struct Attributes {
        program: u32,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    const LINK_CREATE: libc::c_long = 28;
    const ATTACH_XDP: u32 = 37;
    /// `XDP_FLAGS_DRV_MODE` (`linux/if_link.h`).
    const IN_THE_DRIVER: u32 = 1 << 2;
    let attributes = Attributes {
        program: program.as_raw_fd().unsigned_abs(),
        interface,
        attach_type: ATTACH_XDP,
        flags: IN_THE_DRIVER,
    };
    // SAFETY: the attributes are those of the command and hold no addresses.
    unsafe { bpf(LINK_CREATE, &attributes) }
}

/// Calls `bpf(2)` with a command that returns a descriptor.
///
/// # Safety
///
/// `attributes` must be laid out as the kernel expects them for `command`, and every address in them must be that of a
/// live buffer of the size that the command reads.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let attributes: *const T = attributes;
    // SAFETY: the size is that of the attributes; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

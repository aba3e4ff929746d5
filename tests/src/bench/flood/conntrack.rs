//! Connections that the kernel tracks.

use std::io::{self, Read as _};

use anyhow::{Context as _, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// Has the kernel forget those of the calling thread's namespace.
pub(super) fn forget_all() -> anyhow::Result<()> {
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_NETFILTER)),
    )
    .context("the kernel has no netlink for netfilter")?;
    socket.send(&request())?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer)?;
    // Behind the header there is an error's number, negative, or none.
    let error = answer[..length].get(16..).and_then(|rest| rest.first_chunk().copied());
    let error = -i32::from_ne_bytes(error.context("the kernel's answer is short")?);
    ensure!(
        error == 0,
        "the kernel does not forget the connections that it tracks: {}",
        io::Error::from_raw_os_error(error)
    );
    Ok(())
}

/// To delete what is described, and no description (`linux/netfilter/nfnetlink_conntrack.h`).
fn request() -> Vec<u8> {
    const LENGTH: u32 = 20;
    const DELETE: u16 = 2;
    let message = u16::try_from(libc::NFNL_SUBSYS_CTNETLINK << 8).expect("a message's number has 16 bits") | DELETE;
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).expect("flags have 16 bits");
    let (number, sender, family) = (0_u32, 0_u32, 0_u32);
    [
        LENGTH.to_ne_bytes().as_slice(),
        &message.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &number.to_ne_bytes(),
        &sender.to_ne_bytes(),
        &family.to_ne_bytes(),
    ]
    .concat()
}

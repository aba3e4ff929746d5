//! Attaching the XDP program to interfaces, so that it stays when the daemon goes.
//!
//! Each attachment is a BPF link, pinned. A daemon that starts finds it and puts its own program in place of the one
//! that runs, in one step, under traffic.

use std::io;

use super::pins::Pins;
use crate::{
    config::XdpMode,
    neighbors::{AttachedMode, Interface, XdpProgram},
};
use anyhow::{Context as _, anyhow};
use aya::programs::{
    ProgramError, Xdp, XdpMode as AyaMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

/// An interface with the program attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Where in the receive path the program runs.
    pub mode: AttachedMode,
}

/// Attaches the program to every interface, taking over the attachments that are pinned, and removes attachments to
/// interfaces that are not among them.
///
/// # Errors
///
/// If an interface refuses the program. What this call attached is then detached again; attachments that it took over
/// stay.
pub(super) fn attach_all(
    program: &mut Xdp,
    pins: &Pins,
    interfaces: &[Interface],
    wanted: XdpMode,
) -> anyhow::Result<Vec<Attachment>> {
    let mut attachments = Vec::new();
    let mut fresh = Vec::new();
    for interface in interfaces {
        match attach(program, pins, interface, wanted) {
            Ok((attachment, is_fresh)) => {
                if is_fresh {
                    fresh.push(interface.name.clone());
                }
                attachments.push(attachment);
            }
            Err(error) => {
                for name in fresh {
                    if let Err(error) = pins.detach(&name) {
                        tracing::warn!("{error:#}");
                    }
                }
                return Err(error);
            }
        }
    }
    for name in pins.links()? {
        if !interfaces.iter().any(|interface| interface.name == name) {
            pins.detach(&name)?;
            tracing::info!(interface = name, "detached: the configuration no longer names it");
        }
    }
    Ok(attachments)
}

/// Puts the program in the place of those that are attached.
pub(super) fn replace_all(program: &mut Xdp, pins: &Pins, attachments: &[Attachment]) -> anyhow::Result<()> {
    attachments
        .iter()
        .try_for_each(|attachment| replace(program, pinned(pins, &attachment.interface)?, &attachment.interface))
}

fn pinned(pins: &Pins, interface: &str) -> anyhow::Result<FdLink> {
    let pinned = PinnedLink::from_pin(pins.link(interface))
        .with_context(|| format!("cannot open the attachment to {interface}"))?;
    Ok(FdLink::from(pinned))
}

fn replace(program: &mut Xdp, link: FdLink, interface: &str) -> anyhow::Result<()> {
    let link_id = program
        .attach_to_link(XdpLink::try_from(link)?)
        .with_context(|| format!("cannot replace the program on {interface}"))?;
    // The pin holds the attachment; the handle may go.
    drop(program.take_link(link_id)?);
    Ok(())
}

/// Attaches the program to one interface. The flag tells whether the attachment is a new one.
fn attach(
    program: &mut Xdp,
    pins: &Pins,
    interface: &Interface,
    wanted: XdpMode,
) -> anyhow::Result<(Attachment, bool)> {
    let path = pins.link(&interface.name);
    if path.exists() {
        if let Some(mode) = take_over(program, pins, interface, wanted)? {
            let attachment = Attachment {
                interface: interface.name.clone(),
                mode,
            };
            return Ok((attachment, false));
        }
        // The interface is another one by now, or its attachment is of another mode.
        pins.detach(&interface.name)?;
    }
    let (link, mode) = attach_new(program, interface, wanted)?;
    let link = FdLink::try_from(link).map_err(|_netlink| {
        anyhow!(
            "{}: the kernel attaches XDP programs without BPF links, so the data plane would not outlive the daemon: \
             use Linux 5.9 or later",
            interface.name
        )
    })?;
    link.pin(&path)
        .with_context(|| format!("cannot pin {}", path.display()))?;
    let attachment = Attachment {
        interface: interface.name.clone(),
        mode,
    };
    Ok((attachment, true))
}

/// Replaces the program of a pinned attachment. `None` if the pin is of no use: it belongs to an interface of the same
/// name that is gone, or to another mode than the wanted one.
fn take_over(
    program: &mut Xdp,
    pins: &Pins,
    interface: &Interface,
    wanted: XdpMode,
) -> anyhow::Result<Option<AttachedMode>> {
    let link = pinned(pins, &interface.name)?;
    let Some(XdpProgram { id, mode }) = interface.xdp else {
        return Ok(None);
    };
    let suits = match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => mode == AttachedMode::Native,
        XdpMode::Generic => mode == AttachedMode::Generic,
    };
    if link.info()?.program_id() != id || !suits {
        return Ok(None);
    }
    replace(program, link, &interface.name)?;
    Ok(Some(mode))
}

/// Attaches the program anew. It is taken off the interface when the link goes, unless that is pinned.
pub(super) fn attach_new(
    program: &mut Xdp,
    interface: &Interface,
    wanted: XdpMode,
) -> anyhow::Result<(XdpLink, AttachedMode)> {
    let native = match wanted {
        XdpMode::Generic => Err(io::Error::from(io::ErrorKind::Unsupported)),
        XdpMode::Auto | XdpMode::Native => attach_in(program, interface, AyaMode::Driver),
    };
    match native {
        Ok(link) => Ok((link, AttachedMode::Native)),
        Err(error) if wanted != XdpMode::Native && is_unsupported(&error) => {
            if wanted == XdpMode::Auto {
                tracing::warn!(
                    interface = interface.name,
                    "the driver has no native XDP ({error}): attaching in generic mode, which is slower"
                );
            }
            let link = attach_in(program, interface, AyaMode::Skb).map_err(|error| explain(interface, &error))?;
            Ok((link, AttachedMode::Generic))
        }
        Err(error) => Err(explain(interface, &error)),
    }
}

fn attach_in(program: &mut Xdp, interface: &Interface, mode: AyaMode) -> io::Result<XdpLink> {
    let link_id = program
        .attach_to_if_index(interface.index, mode)
        .map_err(|error| match error {
            ProgramError::SyscallError(error) => error.io_error,
            error => io::Error::other(error),
        })?;
    program.take_link(link_id).map_err(io::Error::other)
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn explain(interface: &Interface, error: &io::Error) -> anyhow::Error {
    let name = &interface.name;
    if is_unsupported(error) {
        return anyhow!("{name}: the driver has no native XDP: use auto or generic as the XDP mode");
    }
    match (error.raw_os_error(), interface.xdp) {
        (Some(libc::EBUSY), Some(XdpProgram { id, .. })) => anyhow!(
            "{name}: another XDP program (id {id}) is attached: remove it (`ip link set dev {name} xdp off`, or stop its owner)"
        ),
        (Some(libc::ERANGE | libc::EMSGSIZE), _) => {
            anyhow!(
                "{name}: the MTU is too large for native XDP on this driver: lower it, or use generic as the XDP mode"
            )
        }
        _ => anyhow!("{name}: cannot attach the XDP program: {error}"),
    }
}

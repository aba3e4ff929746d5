//! Whether packets fit on their way.

use balancer_common::{DropReason, packet::Headers};

use crate::maps;

/// Refuses a packet that leaves with `length` bytes if that is more than `mtu`, and notes how long it might have been as it
/// came.
#[inline(always)]
pub(crate) fn check(headers: &Headers, length: u32, mtu: u32) -> Result<(), DropReason> {
    if length > mtu {
        // Never less than zero: what comes on top is a few bytes.
        maps::note_limit(headers.length.wrapping_add(mtu).wrapping_sub(length));
        return Err(DropReason::TooBig);
    }
    Ok(())
}

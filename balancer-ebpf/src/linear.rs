//! The part of a frame that a program can read without a helper.

use core::ptr::NonNull;

use balancer_common::packet::Wire;

/// Furthest offset at which a header is looked for. Two VLAN tags, the longest IPv4 header and the options of a TCP header
/// end far below; the verifier wants a bound for offsets that come from the packet.
const MAX_OFFSET: usize = 2_047;

/// A frame's linear part, as its context has it.
#[derive(Clone, Copy)]
pub struct Linear {
    /// Address of the first byte.
    pub begin: usize,
    /// Address behind the last byte.
    pub end: usize,
}

impl Linear {
    /// Where what is at `offset` stands, if all of it is there.
    #[inline(always)]
    pub fn at<T: Wire>(&self, offset: usize) -> Option<NonNull<T>> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.begin + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: no frame begins at zero. Said like this, the compiler makes no check of it.
        Some(unsafe { NonNull::new_unchecked(start as *mut T) })
    }
}

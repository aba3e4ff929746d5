//! Health probes that take the way of clients' packets.
//!
//! The daemon connects to the backend itself, from a socket with a mark that names the backend. On its way out the packet gets
//! the VIP as its destination and is put into a tunnel, as the service's way of forwarding has it; on their way in, the answers
//! from the VIP become answers of the backend.

use super::{Address, Tick, record};

/// The marks of probes' sockets have this in their upper bits and the backend's index below.
const MARK: u32 = 0x5d1 << INDEX_BITS;
/// Bits of a backend's index.
const INDEX_BITS: u32 = 21;
const INDICES: u32 = 1 << INDEX_BITS;

/// The mark of sockets whose packets are to get to the backend with this index in the way that clients' do. `None` if there is
/// no mark for such a large index.
pub const fn probe_mark(index: u32) -> Option<u32> {
    if index < INDICES { Some(MARK | index) } else { None }
}

/// The backend index that a mark names, if it is the mark of a probe.
#[inline(always)]
pub const fn probed_backend(mark: u32) -> Option<u32> {
    if mark & !(INDICES - 1) == MARK {
        Some(mark & (INDICES - 1))
    } else {
        None
    }
}

/// Whom a probe has asked, by the two ends that its answers have: those between VIP and host.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed {
    /// The backend's address, which the probe's socket is connected to.
    pub backend: Address,
    /// When the probe's last packet left.
    pub seen: Tick,
    /// Always zero.
    pub _padding: u32,
}
record!(
    Probed {
        backend,
        seen,
        _padding
    },
    24
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_a_backend_and_no_other_does() {
        for index in [0, 1, 77, INDICES - 1] {
            assert_eq!(probe_mark(index).and_then(probed_backend), Some(index));
        }
        assert_eq!(probe_mark(INDICES), None);
        for mark in [0, 1, INDICES - 1, MARK - 1, MARK + INDICES] {
            assert_eq!(probed_backend(mark), None, "{mark:#x}");
        }
    }
}

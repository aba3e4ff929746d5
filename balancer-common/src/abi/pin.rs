//! Clients that an operator keeps together.

use super::record;

/// What the clients of a prefix share.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// A hash of the key that stands in the place of the clients' addresses; meaningless with a backend.
    pub key: [u8; 16],
    /// Index of the backend that they are given to; 0 for none.
    pub backend: u32,
}
record!(Pin { key, backend }, 20);

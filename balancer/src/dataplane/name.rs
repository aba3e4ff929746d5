//! Names of services and backends beside their records in the kernel.
//!
//! The XDP program has no use for names. They are kept in maps of their own, pinned with the others, so that a daemon
//! that starts recognises what the data plane holds from the data plane itself.

use aya::Pod;

/// A name of at most 63 bytes, filled up with zeroes. Empty for an index that is free.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name([u8; Self::LEN]);

// SAFETY: an array of bytes, transparently.
unsafe impl Pod for Name {}

impl Name {
    const LEN: usize = 64;

    /// The name of a free index.
    pub(super) const FREE: Self = Self([0; Self::LEN]);

    /// `name`, which the configuration has checked to be short enough; what does not fit is cut off.
    pub(super) fn new(name: &str) -> Self {
        let mut bytes = [0; Self::LEN];
        for (byte, source) in bytes.iter_mut().take(Self::LEN - 1).zip(name.bytes()) {
            *byte = source;
        }
        Self(bytes)
    }

    /// The text; `None` for a free index.
    pub(super) fn text(&self) -> Option<String> {
        let text: Vec<u8> = self.0.iter().copied().take_while(|&byte| byte != 0).collect();
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

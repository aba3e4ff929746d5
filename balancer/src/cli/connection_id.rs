//! QUIC connection IDs as commands take them.

use std::str::FromStr;

use crate::config;

/// The bytes of a QUIC connection ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionId(Vec<u8>);

/// The longest one there is (RFC 9000, 17.2).
const LONGEST: usize = 20;

impl ConnectionId {
    /// The bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl FromStr for ConnectionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match config::hex(text) {
            Ok(bytes) if (1..=LONGEST).contains(&bytes.len()) => Ok(Self(bytes)),
            Ok(_) => Err(format!("a connection ID has 1 to {LONGEST} bytes")),
            Err(why) => Err(format!("it {why}")),
        }
    }
}

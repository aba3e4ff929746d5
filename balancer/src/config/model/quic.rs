//! QUIC connection IDs of a service, and what its servers are called in them.

use std::{fmt, net::IpAddr};

use balancer_common::quic::{self, ConnectionIds};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Backend;

/// Where a server's identity stands in QUIC connection IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum QuicLayout {
    /// As the plaintext algorithm of QUIC-LB has it.
    QuicLb,
    /// As Katran has it.
    Katran,
}

/// What QUIC connection IDs are like, under [`Affinity::QuicCid`](super::Affinity::QuicCid).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Where the server's identity stands.
    pub layout: QuicLayout,
    /// Bytes of it under [`QuicLayout::QuicLb`], 1 to 8.
    pub server_id_length: u8,
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            layout: QuicLayout::QuicLb,
            server_id_length: ConnectionIds::DEFAULT.server_id_length,
        }
    }
}

impl Quic {
    /// The same as the data plane has it.
    pub const fn connection_ids(self) -> ConnectionIds {
        ConnectionIds {
            layout: match self.layout {
                QuicLayout::QuicLb => quic::Layout::QuicLb,
                QuicLayout::Katran => quic::Layout::Katran,
            },
            server_id_length: self.server_id_length,
        }
    }

    /// What a backend calls itself in connection IDs, as a number: what its configuration says, else the last bytes of its
    /// address, as many as there is room for.
    pub fn number_of(self, backend: &Backend) -> u64 {
        if let Some(id) = &backend.server_id {
            return id.number();
        }
        let number = match backend.address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.segments();
                [a, b, c, d]
                    .iter()
                    .fold(0, |number, &segment| number << 16 | u64::from(segment))
            }
        };
        let bits = self.connection_ids().server_id_bits();
        number & u64::MAX >> (64 - bits)
    }
}

/// What a server calls itself in QUIC connection IDs: 1 to 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerId(Vec<u8>);

impl ServerId {
    /// An identity of these bytes; `None` if there are none, or too many.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=usize::from(quic::MAX_SERVER_ID))
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn number(&self) -> u64 {
        self.0.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

/// Two hexadecimal digits for each byte, as configurations have it.
impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

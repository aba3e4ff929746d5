//! Decisions about single packets, as they are told while somebody follows.

use std::{fmt, net::SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which decisions are to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFilter {
    /// Only those about packets from or to these clients.
    pub client: Option<IpNet>,
    /// Only those about packets of this service.
    pub service: Option<String>,
    /// Only those about packets of this backend of the service.
    pub backend: Option<String>,
    /// Only packets that are dropped for one of these reasons, by their metric labels; for any if there are none. `None` asks for
    /// packets that are not dropped as well.
    pub drops: Option<Vec<String>>,
    /// How many are told in a second, and at once, on each CPU.
    pub rate: u32,
    /// Whether the packets' bytes are to be told too.
    pub capture: bool,
}

/// What was decided about a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketDecision {
    /// When, in UTC, as RFC 3339 writes it.
    pub time: String,
    /// The interface that it came in by.
    pub interface: String,
    /// Its protocol: `tcp`, `udp`, `icmp`, or a number.
    pub protocol: String,
    /// The flags of its TCP header, as `SA`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flags: Option<String>,
    /// Its sender, as it came.
    pub source: SocketAddr,
    /// Its receiver, as it came.
    pub destination: SocketAddr,
    /// The service.
    pub service: Option<String>,
    /// The backend.
    pub backend: Option<String>,
    /// What becomes of it.
    pub fate: PacketFate,
    /// Why this backend, or why it goes no further.
    pub reason: Option<String>,
    /// Bytes of the frame as it came.
    pub bytes: u32,
    /// How many decisions before this one were not told, as they were too many.
    pub missed: u32,
    /// Its bytes, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frames: Option<PacketFrames>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacketFate {
    /// It goes to a backend.
    Forwarded,
    /// It goes to a client.
    Returned,
    /// Its sender gets an answer from the balancer.
    Answered,
    /// It goes nowhere.
    Dropped,
    /// The kernel gets it as it came.
    Passed,
}

impl fmt::Display for PacketFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forwarded => "forwarded",
            Self::Returned => "returned",
            Self::Answered => "answered",
            Self::Dropped => "dropped",
            Self::Passed => "passed",
        })
    }
}

/// The bytes of a packet, as far as they were captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketFrames {
    /// When, in nanoseconds since 1970.
    pub nanoseconds: u64,
    /// The frame as it came.
    #[serde(with = "base64_text")]
    pub received: Vec<u8>,
    /// How long it was.
    pub received_length: u32,
    /// The frame as it leaves; empty if it does not.
    #[serde(with = "base64_text")]
    pub sent: Vec<u8>,
    /// How long it is.
    pub sent_length: u32,
}

/// Bytes as text (RFC 4648, section 4).
mod base64_text {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

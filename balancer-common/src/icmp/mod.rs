//! Control messages: ICMP (RFC 792) and ICMPv6 (RFC 4443).

mod across;
mod echo;
mod error;
mod quoted;

pub use across::translate_across;
pub use echo::answer_echo;
pub use error::{Error, quotable, room, write_error};
pub use quoted::translate_quoted;

use crate::packet::{Family, Headers, Packet};

/// Bytes of a message in front of what it quotes: type, code, checksum and four bytes whose meaning the type decides.
pub const HEADER_LEN: usize = 8;

/// Bytes of the TCP or UDP header that every error quotes (RFC 792).
pub const QUOTED_TRANSPORT_LEN: usize = 8;

/// Offset of the checksum in a message.
pub(crate) const CHECKSUM: usize = 2;

/// Types of ICMP messages (IANA).
mod v4 {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
    /// Code of an unreachable destination: it does not know the protocol.
    pub(super) const PROTOCOL: u8 = 2;
    /// Code of an unreachable destination: nobody takes the packet at its port.
    pub(super) const PORT: u8 = 3;
    /// Code of an unreachable destination: the packet is too big and must not be fragmented.
    pub(super) const FRAGMENTATION_NEEDED: u8 = 4;
}

/// Types of ICMPv6 messages (IANA).
mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    /// Code of an unreachable destination: nobody takes the packet at its port.
    pub(super) const PORT: u8 = 4;
    pub(super) const TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    /// Greatest type of errors, those included that are not yet known (RFC 4443, 2.1).
    pub(super) const LAST_ERROR: u8 = 127;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
}

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Somebody asks whether the destination is there.
    EchoRequest,
    /// A packet that the destination seems to have sent could not be delivered as it is. The message quotes it.
    Error,
    /// Anything else.
    Other,
}

/// Whether the error with these headers says that nobody takes the packet at its port. `None` if the packet no longer holds
/// it.
#[inline(always)]
pub fn is_refusal<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<bool> {
    let [kind, code] = *packet.view::<[u8; 2]>(headers.transport as usize)?;
    Some(matches!(
        (headers.family, kind, code),
        (Family::V4, v4::UNREACHABLE, v4::PORT) | (Family::V6, v6::UNREACHABLE, v6::PORT)
    ))
}

/// What the message with these headers is about. `None` if the packet no longer holds it.
#[inline(always)]
pub fn kind<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Kind> {
    let [kind, code] = *packet.view::<[u8; 2]>(headers.transport as usize)?;
    Some(match (headers.family, kind, code) {
        (Family::V4, v4::ECHO_REQUEST, 0) | (Family::V6, v6::ECHO_REQUEST, 0) => Kind::EchoRequest,
        // Source quench is to be ignored (RFC 6633), and a redirect is for the host that it is sent to.
        (Family::V4, v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM, _)
        | (Family::V6, v6::UNREACHABLE..=v6::LAST_ERROR, _) => Kind::Error,
        _ => Kind::Other,
    })
}

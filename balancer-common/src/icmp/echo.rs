//! Answers to those who ask whether somebody is there.

use super::{CHECKSUM, v4, v6};
use crate::{
    checksum::Update,
    packet::{Family, Headers, Packet},
    rewrite,
};

/// Turns an echo request into its reply, addressed to where it came from (RFC 792; RFC 4443, 4.2). A checksum that was
/// wrong stays wrong.
///
/// `None` means that the packet no longer holds the headers that were parsed.
#[inline(always)]
pub fn answer_echo<P: Packet + ?Sized>(packet: &mut P, headers: &Headers) -> Option<()> {
    let (request, reply) = match headers.family {
        Family::V4 => (v4::ECHO_REQUEST, v4::ECHO_REPLY),
        Family::V6 => (v6::ECHO_REQUEST, v6::ECHO_REPLY),
    };
    rewrite::turn_round(packet, headers, headers.length as u16)?;
    let message = headers.transport as usize;
    *packet.view_mut::<[u8; 2]>(message)? = [reply, 0];
    let checksum = packet.view_mut::<[u8; 2]>(message + CHECKSUM)?;
    *checksum = Update::NONE.word([request, 0], [reply, 0]).apply(*checksum);
    rewrite::return_frame(packet)
}

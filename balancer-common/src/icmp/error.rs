//! What senders are told of packets that go no further.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{CHECKSUM, HEADER_LEN, v4, v6};
use crate::{
    abi::{Address, protocol},
    checksum::Sum,
    ip_header::{ATOMIC, Outline},
    packet::{Family, Headers, Packet, Wire},
    rewrite::{self, TTL},
};

/// Type of service of ICMP errors: precedence "internetwork control" (RFC 1812, 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Bytes of link-layer header and VLAN tags that a frame has at most.
const LONGEST_LINK: usize = 22;

/// Why a packet goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It is larger than this number of bytes, which is all that fits (RFC 1191, 4; RFC 4443, 3.2).
    TooBig {
        /// The largest IP packet that fits, in bytes. Less than every link has to carry is not told (RFC 791, 3.2; RFC 8200, 5).
        mtu: u32,
    },
    /// Its TTL or hop limit has run out (RFC 792; RFC 4443, 3.3).
    TimeExceeded,
    /// Nobody takes it at its port (RFC 792; RFC 4443, 3.1).
    PortUnreachable,
}

impl Error {
    /// The message's header, its checksum not yet filled in.
    #[inline(always)]
    pub const fn header(self, family: Family) -> [u8; HEADER_LEN] {
        match (self, family) {
            (Self::TooBig { mtu }, Family::V4) => {
                let [_, _, high, low] = within(mtu, 68, u16::MAX as u32).to_be_bytes();
                [v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low]
            }
            (Self::TooBig { mtu }, Family::V6) => {
                let [a, b, c, d] = within(mtu, 1_280, u32::MAX).to_be_bytes();
                [v6::TOO_BIG, 0, 0, 0, a, b, c, d]
            }
            (Self::PortUnreachable, Family::V4) => [v4::UNREACHABLE, v4::PORT, 0, 0, 0, 0, 0, 0],
            (Self::PortUnreachable, Family::V6) => [v6::UNREACHABLE, v6::PORT, 0, 0, 0, 0, 0, 0],
            (Self::TimeExceeded, Family::V4) => [v4::TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
            (Self::TimeExceeded, Family::V6) => [v6::TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

#[inline(always)]
const fn within(value: u32, least: u32, most: u32) -> u32 {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}

/// Bytes that an error has in front of the packet that it quotes: IP header and message header.
#[inline(always)]
pub const fn room(family: Family) -> usize {
    HEADER_LEN
        + match family {
            Family::V4 => Ipv4Hdr::LEN,
            Family::V6 => Ipv6Hdr::LEN,
        }
}

/// Most bytes of a packet that an error quotes: it is not to exceed 576 bytes (RFC 1812, 4.3.2.3) or the least MTU of IPv6
/// (RFC 4443, 2.4).
#[inline(always)]
pub const fn quotable(family: Family) -> usize {
    let longest = match family {
        Family::V4 => 576,
        Family::V6 => 1_280,
    };
    longest - room(family)
}

/// Completes an error. The caller has made [`room`] in front of the frame that it is about, and cut it behind the first
/// `quoted` bytes of the IP packet, at most [`quotable`] ones, which sum up to `quotation`. `headers` are those of the packet
/// before that, `source` is the error's sender, and `message` its header without the checksum.
///
/// The error goes back to where the frame came from. `None` means that the packet no longer holds what was parsed.
#[inline(always)]
pub fn write_error<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    source: Address,
    mut message: [u8; HEADER_LEN],
    quoted: usize,
    quotation: Sum,
) -> Option<()> {
    let network = headers.network as usize;
    // More than the link's headers may move: what is behind them is overwritten.
    let link = *packet.view::<[u8; LONGEST_LINK]>(room(headers.family))?;
    *packet.view_mut::<[u8; LONGEST_LINK]>(0)? = link;
    rewrite::return_frame(packet)?;

    let payload = (HEADER_LEN + quoted) as u16;
    let (class, protocol) = match headers.family {
        Family::V4 => (INTERNETWORK_CONTROL, protocol::ICMP),
        Family::V6 => (0, protocol::ICMPV6),
    };
    let outline = Outline {
        class,
        ttl: TTL,
        protocol,
        payload,
    };
    let content = quotation.add_bytes(&message);
    match headers.family {
        Family::V4 => {
            [message[CHECKSUM], message[CHECKSUM + 1]] = content.checksum();
            *packet.view_mut(network)? = Front {
                ip: outline.ipv4(ATOMIC, source, headers.source),
                message,
            };
        }
        Family::V6 => {
            let sum = content
                .add_v6(source)
                .add_v6(headers.source)
                .add_word(payload.to_be_bytes())
                .add_word([0, protocol]);
            [message[CHECKSUM], message[CHECKSUM + 1]] = sum.checksum();
            *packet.view_mut(network)? = Front {
                ip: outline.ipv6(source, headers.source),
                message,
            };
        }
    }
    Some(())
}

/// What stands in front of the quoted packet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Front<T> {
    ip: T,
    message: [u8; HEADER_LEN],
}

// SAFETY: both fields are such types, so that there is no padding and the alignment is theirs.
unsafe impl<T: Wire> Wire for Front<T> {}

#[cfg(test)]
mod tests;

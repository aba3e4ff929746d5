//! The server that a QUIC connection ID names.
//!
//! A server chooses the connection IDs that its clients send to it, and may put its own identity into them. A balancer that
//! knows where then finds the server whatever address the client has meanwhile.

use crate::packet::Packet;

/// Where a server's identity stands in the connection IDs that it chooses.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Layout {
    /// In plain text behind the first byte, as the plaintext algorithm of QUIC-LB has it
    /// (draft-ietf-quic-load-balancers, 5.2). The first three bits of that byte say which of several configurations the
    /// server follows, and all ones that it follows none.
    QuicLb = 0,
    /// As Katran has it: the first two bits are a version, which says where the number stands and how long it is. 1: 16 bits
    /// behind the version; 2: the second to the fourth byte; 3: the second to the fifth byte.
    Katran = 1,
}

/// The connection IDs of a service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionIds {
    /// Where the server's identity stands.
    pub layout: Layout,
    /// How many bytes it has under [`Layout::QuicLb`]: 1 to [`MAX_SERVER_ID`].
    pub server_id_length: u8,
}

/// Most bytes of a server's identity.
pub const MAX_SERVER_ID: u8 = 8;

impl ConnectionIds {
    /// Those that a service has of which nothing else is said: an identity as long as an IPv4 address.
    pub const DEFAULT: Self = Self {
        layout: Layout::QuicLb,
        server_id_length: 4,
    };

    /// Bits of the longest identity.
    pub const fn server_id_bits(self) -> u32 {
        match self.layout {
            Layout::QuicLb => 8 * self.server_id_length as u32,
            Layout::Katran => 32,
        }
    }
}

/// Set in the first byte of packets with a long header (RFC 9000, 17.2): those that a connection begins with, for which the client
/// may have chosen the ID.
const LONG_HEADER: u8 = 0x80;

/// The identity of the server, as a number, in the QUIC packet that begins at `payload`; `None` if it has a long header, is too
/// short, or its connection ID says that it names no server.
///
/// A packet with a short header is longer than all that is looked at (RFC 9000, 10.3).
#[inline(always)]
pub fn server_id<P: Packet + ?Sized>(packet: &P, payload: usize, ids: ConnectionIds) -> Option<u64> {
    let [flags, first] = *packet.view::<[u8; 2]>(payload)?;
    if flags & LONG_HEADER != 0 {
        return None;
    }
    match ids.layout {
        Layout::QuicLb => {
            const FOLLOWS_NONE: u8 = 0b111;
            if first >> 5 == FOLLOWS_NONE {
                return None;
            }
            let word = u64::from_be_bytes(*packet.view(payload + 2)?);
            let unused = 64_u32.checked_sub(8 * u32::from(ids.server_id_length))?;
            word.checked_shr(unused)
        }
        Layout::Katran => {
            let word = u64::from_be_bytes(*packet.view(payload + 1)?);
            match word >> 62 {
                1 => Some(word >> 46 & 0xffff),
                2 => Some(word >> 32 & 0x00ff_ffff),
                3 => Some(word >> 24 & 0xffff_ffff),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: u8 = 0x40;

    fn quic_lb(server_id_length: u8) -> ConnectionIds {
        ConnectionIds {
            layout: Layout::QuicLb,
            server_id_length,
        }
    }

    const KATRAN: ConnectionIds = ConnectionIds {
        layout: Layout::Katran,
        server_id_length: 0,
    };

    /// A packet that begins with `begin`, as long as the shortest one there is.
    fn packet(begin: &[u8]) -> Vec<u8> {
        let mut packet = begin.to_vec();
        packet.resize(21, 0xa5);
        packet
    }

    fn read(begin: &[u8], ids: ConnectionIds) -> Option<u64> {
        server_id(packet(begin).as_slice(), 0, ids)
    }

    #[test]
    fn quic_lb_has_the_identity_behind_the_first_byte() {
        let begin = [SHORT, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        for (length, expected) in [(1, 0x01), (2, 0x0102), (4, 0x0102_0304), (8, 0x0102_0304_0506_0708)] {
            assert_eq!(read(&begin, quic_lb(length)), Some(expected), "{length}");
        }
    }

    #[test]
    fn quic_lb_names_no_server_under_the_reserved_configuration() {
        for first in 0..=u8::MAX {
            let found = read(&[SHORT, first, 0xab], quic_lb(1));
            assert_eq!(found, (first < 0b1110_0000).then_some(0xab), "{first:#x}");
        }
    }

    #[test]
    fn katran_has_three_versions() {
        let cases: [(&[u8], Option<u64>); 5] = [
            (&[SHORT, 0b0100_0000, 0, 0b0100_0000], Some(1)),
            (&[SHORT, 0b0111_1111, 0xff, 0b1100_0000], Some(0xffff)),
            (&[SHORT, 0b1000_0000, 0x12, 0x34, 0x56], Some(0x12_3456)),
            (&[SHORT, 0b1100_0000, 0x12, 0x34, 0x56, 0x78], Some(0x1234_5678)),
            (&[SHORT, 0b0000_0000, 0x12, 0x34, 0x56, 0x78], None),
        ];
        for (begin, expected) in cases {
            assert_eq!(read(begin, KATRAN), expected, "{begin:x?}");
        }
    }

    #[test]
    fn long_headers_name_no_server() {
        for flags in 0x80..=0xff {
            assert_eq!(read(&[flags, 0, 1], quic_lb(1)), None);
            assert_eq!(read(&[flags, 0x40, 1], KATRAN), None);
        }
    }

    #[test]
    fn what_is_too_short_names_no_server() {
        let whole = packet(&[SHORT, 0x40, 1]);
        for length in 0..whole.len() {
            for ids in [quic_lb(1), quic_lb(8), KATRAN] {
                let found = server_id(&whole[..length], 0, ids);
                assert!(found.is_none() || length >= 9, "{length} {ids:?}");
            }
        }
    }

    #[test]
    fn a_length_that_none_has_names_no_server() {
        for length in [0, 9, u8::MAX] {
            assert_eq!(read(&[SHORT, 0, 1], quic_lb(length)), None);
        }
    }
}

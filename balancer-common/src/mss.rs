//! The largest segment that an end of a TCP connection wants to get (MSS; RFC 9293, 3.7.1).

use crate::{
    affinity::tcp,
    checksum::Update,
    packet::{Headers, Packet, Piece, Tcp},
};

/// Options that are looked at. Senders put the MSS first, or nearly so.
const MAX_OPTIONS: usize = 10;

/// Kinds of TCP options (IANA).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MSS: u8 = 2;
}

/// Bytes of the MSS option.
const MSS_LEN: usize = 4;

/// Whether this packet may say which segments its sender wants to get: the first packet of a connection in its direction does.
#[inline(always)]
pub const fn is_told(headers: &Headers) -> bool {
    headers.tcp_flags & tcp::SYN != 0 && matches!(headers.fragment.piece, Piece::Whole)
}

/// Has the sender of this TCP segment want no larger segments than of `most` bytes, if it says that it wants some. The
/// checksum is updated, and stays wrong if it was wrong.
///
/// `None` means that the packet no longer holds the headers that were parsed.
#[inline(always)]
pub fn clamp<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, most: u16) -> Option<()> {
    let transport = headers.transport as usize;
    let end = transport + (packet.view::<Tcp>(transport)?.data_offset >> 4) as usize * 4;
    let mut offset = transport + Tcp::LEN;
    for _ in 0..MAX_OPTIONS {
        if offset + MSS_LEN > end {
            break;
        }
        let [kind, length, high, low] = *packet.view::<[u8; MSS_LEN]>(offset)?;
        offset += match kind {
            option::END => break,
            option::NO_OPERATION => 1,
            option::MSS if length as usize == MSS_LEN => {
                return lower(packet, transport, offset + 2, [high, low], most);
            }
            _ if length < 2 => break,
            _ => length as usize,
        };
    }
    Some(())
}

#[inline(always)]
fn lower<P: Packet + ?Sized>(packet: &mut P, transport: usize, offset: usize, old: [u8; 2], most: u16) -> Option<()> {
    if u16::from_be_bytes(old) <= most {
        return Some(());
    }
    let new = most.to_be_bytes();
    *packet.view_mut::<[u8; 2]>(offset)? = new;
    let mut change = Update::NONE.word(old, new);
    if (offset - transport) % 2 == 1 {
        // Each byte is in another half of its word.
        let ([a, b], [c, d]) = (old, new);
        change = Update::NONE.word([b, a], [d, c]);
    }
    let header = packet.view_mut::<Tcp>(transport)?;
    header.checksum = change.apply(header.checksum);
    Some(())
}

#[cfg(test)]
mod tests {
    use etherparse::ip_number;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{
        Family, parse,
        samples::{Sample, checksums_are_right},
    };

    fn segment(family: Family, options: &[u8]) -> Sample {
        Sample {
            tcp_options: options.to_vec(),
            ..Sample::new(family, ip_number::TCP)
        }
    }

    fn clamped(sample: &Sample, most: u16) -> Vec<u8> {
        let mut frame = sample.frame();
        let headers = parse(frame.as_slice()).unwrap();
        clamp(frame.as_mut_slice(), &headers, most).unwrap();
        frame
    }

    /// The option, for segments of 1,460 bytes.
    const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

    #[test]
    fn a_larger_mss_is_lowered_wherever_it_stands() {
        let timestamps = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        for (case, before, after) in [
            ("first", &[][..], &[3, 3, 7, 0][..]),
            ("behind one byte", &[1], &[1, 1, 1]),
            ("behind an option", &[3, 3, 7], &[0]),
            ("behind timestamps", &timestamps, &[1, 1]),
            ("behind many", &[1; 9], &[1, 1, 0]),
        ] {
            for family in [Family::V4, Family::V6] {
                for (most, expected) in [(1_459, 1_459_u16), (1_460, 1_460), (u16::MAX, 1_460), (0, 0)] {
                    let [high, low] = expected.to_be_bytes();
                    let sample = segment(family, &[before, &MSS, after].concat());
                    let expected = segment(family, &[before, &[2, 4, high, low], after].concat());
                    assert_eq!(clamped(&sample, most), expected.frame(), "{case}, {most}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_mss_stays() {
        for options in [
            &[][..],
            &[0, 2, 4, 5, 0xb4, 0, 0, 0],
            &[3, 3, 7, 0],
            &[2, 3, 5, 1],
            &[2, 0, 5, 0xb4],
            &[9, 1, 2, 4, 5, 0xb4, 0, 0],
            &[1, 1, 2, 4],
            // Behind more than are looked at.
            &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 0xb4, 0, 0],
        ] {
            let sample = segment(Family::V4, options);
            assert_eq!(clamped(&sample, 500), sample.frame(), "{options:?}");
        }
        // What would be one is data.
        let sample = Sample {
            payload: MSS.to_vec(),
            ..segment(Family::V4, &[])
        };
        assert_eq!(clamped(&sample, 500), sample.frame());
    }

    proptest! {
        #[test]
        fn any_options_leave_checksums_right(words in proptest::collection::vec(any::<[u8; 4]>(), 0..=10), most in any::<u16>()) {
            let sample = segment(Family::V6, words.as_flattened());
            prop_assert!(checksums_are_right(&clamped(&sample, most)));
        }

        #[test]
        fn a_segment_that_lost_its_options_is_refused_or_left_and_never_panics(length in 0..100_usize) {
            let sample = segment(Family::V4, &[[1, 1, 1].as_slice(), &MSS, &[0]].concat());
            let mut frame = sample.frame();
            let headers = parse(frame.as_slice()).unwrap();
            frame.truncate(length);
            let done = clamp(frame.as_mut_slice(), &headers, 500);
            // Behind the two bytes that are changed there are the checksum's, which stand before.
            prop_assert_eq!(done.is_some(), length >= sample.transport() + 20 + 7);
        }
    }
}

//! TCP resets: how a host says that there is no connection (RFC 9293, 3.5.2).

use crate::{
    abi::protocol,
    affinity::tcp,
    checksum::Sum,
    packet::{Headers, Packet, Piece, Tcp},
    rewrite,
};

/// Turns a TCP segment into the reset that answers it, addressed to where it came from, without options and data. Returns how
/// many bytes of the frame remain.
///
/// `None` means that it gets no answer, since it is a reset itself or a fragment, or that the packet no longer holds what was
/// parsed.
#[inline(always)]
pub fn write_reset<P: Packet + ?Sized>(packet: &mut P, headers: &Headers) -> Option<u32> {
    if headers.tcp_flags & tcp::RST != 0 || headers.fragment.piece != Piece::Whole {
        return None;
    }
    let transport = headers.transport as usize;
    let segment = *packet.view::<Tcp>(transport)?;
    let mut reset = answer(&segment, headers.payload() as u32);
    reset.checksum = checksum(&reset, headers);
    *packet.view_mut::<Tcp>(transport)? = reset;
    let front = headers.transport.wrapping_sub(headers.network);
    rewrite::turn_round(packet, headers, front.wrapping_add(Tcp::LEN as u16))?;
    rewrite::return_frame(packet)?;
    Some((transport + Tcp::LEN) as u32)
}

/// The reset that answers a segment of so many bytes (RFC 9293, 3.10.7.1), its checksum not yet filled in.
#[inline(always)]
fn answer(segment: &Tcp, length: u32) -> Tcp {
    let none = [0; 4];
    let (sequence, acknowledgement, flags) = if segment.flags & tcp::ACK != 0 {
        (segment.acknowledgement, none, tcp::RST)
    } else {
        let header = u32::from(segment.data_offset >> 4) * 4;
        let is_set = |flag| u32::from(segment.flags & flag != 0);
        let next = u32::from_be_bytes(segment.sequence)
            .wrapping_add(length)
            .wrapping_sub(header)
            .wrapping_add(is_set(tcp::SYN))
            .wrapping_add(is_set(tcp::FIN));
        (none, next.to_be_bytes(), tcp::RST | tcp::ACK)
    };
    Tcp {
        source: segment.destination,
        destination: segment.source,
        sequence,
        acknowledgement,
        data_offset: 5 << 4,
        flags,
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    }
}

/// The checksum of a header without options and data, between the ends of `headers`: which is the sender makes no difference.
#[inline(always)]
fn checksum(header: &Tcp, headers: &Headers) -> [u8; 2] {
    let [a, b, c, d] = header.sequence;
    let [e, f, g, h] = header.acknowledgement;
    Sum::ZERO
        .add_address(headers.source)
        .add_address(headers.destination)
        .add_word([0, protocol::TCP])
        .add_word([0, Tcp::LEN as u8])
        .add_word(header.source)
        .add_word(header.destination)
        .add_word([a, b])
        .add_word([c, d])
        .add_word([e, f])
        .add_word([g, h])
        .add_word([header.data_offset, header.flags])
        .checksum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{
        Family, parse,
        samples::{Sample, checksums_are_right, samples},
    };
    use etherparse::ip_number;

    /// The frame of a segment with these flags and numbers.
    fn segment(sample: &Sample, flags: u8, sequence: u32, acknowledgement: u32) -> Vec<u8> {
        let mut frame = sample.frame();
        let header = frame.as_mut_slice().view_mut::<Tcp>(sample.transport()).unwrap();
        header.flags = flags;
        header.sequence = sequence.to_be_bytes();
        header.acknowledgement = acknowledgement.to_be_bytes();
        frame
    }

    /// The reset that answers a frame, and its TCP header.
    fn reset(mut frame: Vec<u8>) -> (Vec<u8>, Tcp) {
        let headers = parse(frame.as_slice()).unwrap();
        let length = write_reset(frame.as_mut_slice(), &headers).unwrap();
        frame.truncate(length as usize);
        let tcp = *frame.as_slice().view(headers.transport as usize).unwrap();
        (frame, tcp)
    }

    #[test]
    fn a_reset_has_the_numbers_that_its_receiver_expects() {
        const ACK: u8 = tcp::ACK;
        for family in [Family::V4, Family::V6] {
            // Eight bytes of data.
            let sample = Sample::new(family, ip_number::TCP);
            for (case, flags, expected) in [
                ("a first packet", tcp::SYN, (0, 1_000 + 8 + 1, tcp::RST | ACK)),
                ("data without an acknowledgement", 0, (0, 1_000 + 8, tcp::RST | ACK)),
                ("an end without one", tcp::FIN, (0, 1_000 + 8 + 1, tcp::RST | ACK)),
                ("data", ACK, (2_000, 0, tcp::RST)),
                ("an end", ACK | tcp::FIN, (2_000, 0, tcp::RST)),
                ("an answered first packet", ACK | tcp::SYN, (2_000, 0, tcp::RST)),
            ] {
                let (_, tcp) = reset(segment(&sample, flags, 1_000, 2_000));
                let numbers = (
                    u32::from_be_bytes(tcp.sequence),
                    u32::from_be_bytes(tcp.acknowledgement),
                    tcp.flags,
                );
                assert_eq!(numbers, expected, "{case}");
            }
            let (_, tcp) = reset(segment(&sample, tcp::SYN, u32::MAX - 3, 0));
            assert_eq!(tcp.acknowledgement, 5_u32.to_be_bytes());
        }
    }

    #[test]
    fn a_reset_gets_no_answer() {
        let mut frame = segment(&Sample::new(Family::V4, ip_number::TCP), tcp::RST, 1, 1);
        let headers = parse(frame.as_slice()).unwrap();
        assert_eq!(write_reset(frame.as_mut_slice(), &headers), None);
    }

    proptest! {
        #[test]
        fn a_reset_goes_back_with_right_checksums_and_nothing_in_it(sample in samples(), sequence: u32, acknowledgement: u32, ack: bool) {
            prop_assume!(sample.protocol == ip_number::TCP);
            let frame = segment(&sample, if ack { tcp::ACK } else { tcp::SYN }, sequence, acknowledgement);
            let headers = parse(frame.as_slice()).unwrap();
            let (answer, _) = reset(frame.clone());
            prop_assert!(checksums_are_right(&answer));
            // Some addresses of receivers are not those of senders.
            let Ok(read) = parse(answer.as_slice()) else {
                return Ok(());
            };
            prop_assert_eq!((read.source, read.destination), (headers.destination, headers.source));
            prop_assert_eq!((read.ports.source, read.ports.destination), (headers.ports.destination, headers.ports.source));
            prop_assert_eq!((read.ttl, read.transport), (64, headers.transport));
            prop_assert_eq!(answer.len(), sample.transport() + 20);
            prop_assert_eq!(read.length as usize, answer.len() - sample.network());
            prop_assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]));
        }
    }
}

use etherparse::{IpNumber, ip_number};
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::packet::{
    parse,
    samples::{Sample, checksums_are_right, samples},
};

const ERRORS: [Error; 5] = [
    Error::PortUnreachable,
    Error::TooBig { mtu: 1_280 },
    Error::TooBig { mtu: 1_400 },
    Error::TooBig { mtu: 65_535 },
    Error::TimeExceeded,
];

/// Makes an error of a frame, as the XDP program does, which quotes at most so many bytes.
fn answer(frame: &[u8], source: Address, error: Error, most: usize) -> Vec<u8> {
    let headers = parse(frame).unwrap();
    let network = usize::from(headers.network);
    let quoted = most.min(quotable(headers.family)).min(headers.length as usize);
    let quotation = Sum::ZERO.add_bytes(&frame[network..network + quoted]);
    let room = vec![0xee; room(headers.family)];
    let mut answer = [room.as_slice(), &frame[..network + quoted]].concat();
    let message = error.header(headers.family);
    write_error(answer.as_mut_slice(), &headers, source, message, quoted, quotation).unwrap();
    answer
}

/// The error as `etherparse` writes it.
fn expected(sample: &Sample, source: Address, error: Error, most: usize) -> Vec<u8> {
    let (kind, rest): (_, [u8; 4]) = match (error, sample.family()) {
        (Error::TooBig { mtu }, Family::V4) => ([3, 4], mtu.to_be_bytes()),
        (Error::TooBig { mtu }, Family::V6) => ([2, 0], mtu.to_be_bytes()),
        (Error::PortUnreachable, Family::V4) => ([3, 3], [0; 4]),
        (Error::PortUnreachable, Family::V6) => ([1, 4], [0; 4]),
        (Error::TimeExceeded, Family::V4) => ([11, 0], [0; 4]),
        (Error::TimeExceeded, Family::V6) => ([3, 0], [0; 4]),
    };
    let frame = sample.frame();
    let packet = &frame[sample.network()..];
    let longest = if sample.family() == Family::V4 { 548 } else { 1_232 };
    let quoted = packet.len().min(longest).min(most);
    let mut expected = Sample {
        tags: sample.tags.clone(),
        source: (core::net::IpAddr::from(source), 0).into(),
        destination: sample.source,
        ..Sample::message(sample.family(), kind, rest, &packet[..quoted])
    }
    .frame();
    // The link's addresses change places, and what `Sample` leaves out is the type of service.
    let (receiver, sender) = (<[u8; 6]>::try_from(&frame[..6]).unwrap(), &frame[6..12]);
    expected[..6].copy_from_slice(sender);
    expected[6..12].copy_from_slice(&receiver);
    if sample.family() == Family::V4 {
        let header = &mut expected[sample.network()..sample.network() + 20];
        header[1] = 0xc0;
        header[10..12].fill(0);
        let checksum = Sum::ZERO.add_bytes(header).checksum();
        header[10..12].copy_from_slice(&checksum);
    }
    expected
}

fn vip(family: Family) -> Address {
    match family {
        Family::V4 => Address::v4([192, 0, 2, 10]),
        Family::V6 => Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]),
    }
}

#[test]
fn an_error_quotes_as_much_as_it_may_and_no_more() {
    for (family, protocol, headers) in [
        (Family::V4, ip_number::TCP, 40),
        (Family::V4, ip_number::UDP, 28),
        (Family::V6, ip_number::TCP, 60),
        (Family::V6, ip_number::UDP, 48),
    ] {
        let longest = if family == Family::V4 { 576 } else { 1_280 };
        for length in (headers..headers + 20)
            .chain(520..580)
            .chain(1_200..1_300)
            .chain([9_000])
        {
            let sample = Sample {
                payload: vec![0xa5; length - headers],
                ..Sample::new(family, protocol)
            };
            for error in ERRORS {
                let answer = answer(&sample.frame(), vip(family), error, usize::MAX);
                assert_eq!(
                    answer,
                    expected(&sample, vip(family), error, usize::MAX),
                    "{length} bytes"
                );
                assert!(answer.len() - 14 <= longest);
                let whole = length + room(family) <= longest;
                assert_eq!(answer.len() - 14 == length + room(family), whole, "{length} bytes");
            }
        }
    }
}

#[test]
fn padding_behind_the_packet_is_not_quoted() {
    for sample in Sample::plain() {
        let frame = [sample.frame(), vec![0xff; 40]].concat();
        let vip = vip(sample.family());
        let answer = answer(&frame, vip, Error::TimeExceeded, usize::MAX);
        assert_eq!(answer, expected(&sample, vip, Error::TimeExceeded, usize::MAX));
    }
}

#[test]
fn an_mtu_is_told_within_what_the_ip_version_has_a_meaning_for() {
    for (family, mtu, expected) in [
        (Family::V4, 0, [3, 4, 0, 0, 0, 0, 0, 68]),
        (Family::V4, 68, [3, 4, 0, 0, 0, 0, 0, 68]),
        (Family::V4, 100_000, [3, 4, 0, 0, 0, 0, 0xff, 0xff]),
        (Family::V6, 1_279, [2, 0, 0, 0, 0, 0, 5, 0]),
        (Family::V6, 100_000, [2, 0, 0, 0, 0, 1, 0x86, 0xa0]),
    ] {
        assert_eq!(Error::TooBig { mtu }.header(family), expected, "{mtu}");
    }
}

#[test]
fn a_frame_without_room_is_refused() {
    let sample = Sample::new(Family::V4, IpNumber::UDP);
    for length in 0..22 + room(Family::V4) {
        let mut frame = vec![0; length];
        let message = Error::TimeExceeded.header(Family::V4);
        let done = write_error(
            frame.as_mut_slice(),
            &sample.headers(),
            vip(Family::V4),
            message,
            0,
            Sum::ZERO,
        );
        assert_eq!(done, None, "{length} bytes");
    }
}

proptest! {
    #[test]
    fn an_error_is_the_one_that_would_be_built_anew(sample in samples(), choice in any::<Index>(), most in any::<Index>()) {
        let frame = sample.frame();
        let vip = sample.destination.ip().into();
        let error = ERRORS[choice.index(ERRORS.len())];
        // The headers of the least packet.
        let most = 28 + most.index(frame.len());
        let answer = answer(&frame, vip, error, most);
        prop_assert!(checksums_are_right(&answer));
        prop_assert_eq!(answer, expected(&sample, vip, error, most));
    }
}

use etherparse::ip_number;

use super::*;

/// The identification that the samples' fragment headers carry.
const IDENTIFICATION: u32 = 0x1234_5678;

/// A fragment of a sample: its frame, and what the parser has to make of it.
fn fragment(sample: &Sample, offset: u16, more: bool) -> (Vec<u8>, Headers) {
    let piece = if offset == 0 { Piece::First } else { Piece::Later };
    let (frame, headers, fragment) = match sample.family() {
        Family::V4 => {
            let flags = if more { 0x2000 } else { 0 };
            let frame = spoiled(sample, |frame| {
                put(
                    frame,
                    sample.network() + ipv4_field::IDENTIFICATION,
                    (IDENTIFICATION as u16).to_be_bytes(),
                );
                put(
                    frame,
                    sample.network() + ipv4_field::FRAGMENT,
                    (flags | offset).to_be_bytes(),
                );
            });
            let fragment = Fragment {
                identification: IDENTIFICATION & 0xffff,
                protocol: sample.protocol.0,
                piece,
                carries: sample.protocol.0,
            };
            (frame, sample.headers(), fragment)
        }
        Family::V6 => {
            let extensions = [sample.extensions.as_slice(), &[Extension::Fragment { offset, more }]].concat();
            let sample = Sample {
                extensions,
                ..sample.clone()
            };
            let fragment = Fragment {
                identification: IDENTIFICATION,
                protocol: protocol::FRAGMENT,
                piece,
                carries: sample.protocol.0,
            };
            (sample.frame(), sample.headers(), fragment)
        }
    };
    let headers = match piece {
        Piece::Later => Headers {
            ports: Ports::NONE,
            protocol: protocol::FRAGMENT,
            tcp_flags: 0,
            fragment,
            ..headers
        },
        _ => Headers { fragment, ..headers },
    };
    (frame, headers)
}

/// Makes the packet end `length` bytes behind the begin of its IP header, without shortening the frame.
fn end_packet(frame: &mut [u8], headers: &Headers, length: usize) -> Headers {
    let network = usize::from(headers.network);
    match headers.family {
        Family::V4 => put(frame, network + ipv4_field::LENGTH, (length as u16).to_be_bytes()),
        Family::V6 => put(
            frame,
            network + ipv6_field::PAYLOAD_LENGTH,
            (length as u16 - 40).to_be_bytes(),
        ),
    }
    Headers {
        length: length as u32,
        ..*headers
    }
}

#[test]
fn first_fragments_show_their_ports_and_later_ones_which_packet_they_belong_to() {
    let laden = [
        Sample {
            ipv4_options: vec![1; 40],
            ..Sample::new(Family::V4, ip_number::UDP)
        },
        Sample::extended(ip_number::TCP, [Extension::HopByHop(1), Extension::Destination(0)]),
    ];
    for sample in Sample::plain().into_iter().chain(laden) {
        // "More fragments", each bit of the offset, and both.
        let offsets = (0..13).map(|bit| 1 << bit).chain([0x1fff]);
        for (offset, more) in offsets.flat_map(|offset| [(0, true), (offset, false), (offset, true)]) {
            let (frame, headers) = fragment(&sample, offset, more);
            assert_eq!(parse(frame.as_slice()), Ok(headers), "{offset} {more} {sample:?}");
        }
    }
}

#[test]
fn the_two_reserved_bits_of_a_fragment_header_say_nothing() {
    // RFC 8200, 4.5: they stand between offset and "more fragments".
    let sample = Sample::extended(ip_number::TCP, [Extension::ATOMIC_FRAGMENT]);
    let frame = spoiled(&sample, |frame| frame[sample.network() + 40 + 3] = 0x06);
    assert_eq!(parse(frame.as_slice()), Ok(sample.headers()));
}

#[test]
fn neither_dont_fragment_nor_the_reserved_bit_of_ipv4_makes_a_fragment() {
    for protocol in [ip_number::TCP, ip_number::UDP] {
        let sample = Sample::new(Family::V4, protocol);
        for field in [0x0000, 0x4000, 0x8000, 0xc000] {
            let frame = spoiled(&sample, |frame| {
                put(frame, sample.network() + ipv4_field::FRAGMENT, u16::to_be_bytes(field));
            });
            assert_eq!(parse(frame.as_slice()), Ok(sample.headers()), "{field:#06x}");
        }
    }
}

#[test]
fn a_first_fragment_may_end_before_its_datagram_but_not_before_its_header() {
    for family in [Family::V4, Family::V6] {
        for (protocol, least) in [(ip_number::UDP, 8), (ip_number::TCP, 20)] {
            let sample = Sample {
                payload: vec![0; 100],
                ..Sample::new(family, protocol)
            };
            let (frame, headers) = fragment(&sample, 0, true);
            for left in 0..40 {
                let mut frame = frame.clone();
                let length = usize::from(headers.transport - headers.network) + left;
                // What is behind the end is not taken for the header.
                let headers = end_packet(&mut frame, &headers, length);
                let expected = if left < least { malformed(&sample) } else { Ok(headers) };
                assert_eq!(parse(frame.as_slice()), expected, "{left} bytes");
            }
        }
    }
}

#[test]
fn what_a_later_fragment_carries_is_not_looked_at() {
    for sample in Sample::plain() {
        for left in 0..8 {
            let (mut frame, headers) = fragment(&sample, 100, false);
            frame.truncate(usize::from(headers.transport) + left);
            let length = frame.len() - sample.network();
            let headers = end_packet(&mut frame, &headers, length);
            assert_eq!(parse(frame.as_slice()), Ok(headers), "{left} bytes");
        }
    }
    // What it says to be next may be a header that only the first one has.
    let sample = Sample::extended(
        ip_number::IPV6_DEST_OPTIONS,
        [Extension::Fragment { offset: 1, more: false }],
    );
    let parsed = parse(sample.frame().as_slice()).unwrap();
    assert_eq!(parsed.protocol, protocol::FRAGMENT);
}

#[test]
fn fragments_of_other_protocols_are_foreign() {
    for (offset, more) in [(0, true), (1, false)] {
        let (frame, _) = fragment(&Sample::message(Family::V4, [8, 0], [0; 4], b""), offset, more);
        assert_eq!(parse(frame.as_slice()), FOREIGN);
        for protocol in [
            ip_number::IPV6_ICMP,
            ip_number::ENCAP_SEC,
            ip_number::IPV6_NO_NEXT_HEADER,
        ] {
            let sample = Sample {
                payload: vec![0; 8],
                ..Sample::extended(protocol, [Extension::Fragment { offset, more }])
            };
            assert_eq!(parse(sample.frame().as_slice()), FOREIGN, "{protocol:?}");
        }
    }
}

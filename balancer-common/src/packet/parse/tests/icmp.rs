use etherparse::ip_number;

use super::*;
use crate::icmp::{self, Kind};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn message(family: Family, kind: [u8; 2], content: &[u8]) -> Sample {
    Sample::message(family, kind, [0; 4], content)
}

#[test]
fn messages_are_told_from_each_other() {
    use Kind::{EchoRequest, Error, Other};
    for (family, kind, expected) in [
        (Family::V4, [0, 0], Other),
        (Family::V4, [3, 0], Error),
        (Family::V4, [3, 4], Error),
        (Family::V4, [4, 0], Other),
        (Family::V4, [5, 1], Other),
        (Family::V4, [8, 0], EchoRequest),
        (Family::V4, [8, 1], Other),
        (Family::V4, [9, 0], Other),
        (Family::V4, [11, 0], Error),
        (Family::V4, [11, 1], Error),
        (Family::V4, [12, 2], Error),
        (Family::V4, [13, 0], Other),
        (Family::V4, [128, 0], Other),
        (Family::V6, [0, 0], Other),
        (Family::V6, [1, 4], Error),
        (Family::V6, [2, 0], Error),
        (Family::V6, [3, 1], Error),
        (Family::V6, [4, 2], Error),
        (Family::V6, [8, 0], Error),
        (Family::V6, [127, 0], Error),
        (Family::V6, [128, 0], EchoRequest),
        (Family::V6, [128, 1], Other),
        (Family::V6, [129, 0], Other),
        (Family::V6, [135, 0], Other),
        (Family::V6, [255, 0], Other),
    ] {
        let sample = message(family, kind, b"");
        let frame = sample.frame();
        assert_eq!(parse(frame.as_slice()), Ok(sample.headers()), "{kind:?}");
        assert_eq!(
            icmp::kind(frame.as_slice(), &sample.headers()),
            Some(expected),
            "{kind:?}"
        );
    }
}

#[test]
fn messages_are_found_behind_whatever_stands_before_them() {
    let tags = vec![ether_type::PROVIDER_BRIDGING, ether_type::VLAN_TAGGED_FRAME];
    assert_parsed(&Sample {
        tags: tags.clone(),
        ipv4_options: vec![1; 40],
        ..message(Family::V4, [8, 0], b"ping")
    });
    assert_parsed(&Sample {
        tags,
        extensions: vec![
            Extension::HopByHop(1),
            Extension::ATOMIC_FRAGMENT,
            Extension::Destination(2),
        ],
        ..message(Family::V6, [128, 0], b"ping")
    });
}

#[test]
fn a_message_of_the_other_ip_version_is_foreign() {
    for (family, protocol) in [(Family::V4, ip_number::IPV6_ICMP), (Family::V6, ip_number::ICMP)] {
        let sample = Sample::new(family, ip_number::UDP);
        let frame = spoiled(&sample, |frame| {
            let field = match family {
                Family::V4 => ipv4_field::PROTOCOL,
                Family::V6 => ipv6_field::NEXT_HEADER,
            };
            frame[sample.network() + field] = protocol.0;
        });
        assert_eq!(parse(frame.as_slice()), FOREIGN);
    }
}

#[test]
fn a_message_cut_anywhere_is_never_parsed() {
    for family in FAMILIES {
        let sample = message(family, [3, 1], b"quoted");
        let frame = sample.frame();
        for length in sample.transport()..frame.len() {
            assert_eq!(parse(&frame[..length]), malformed(&sample), "{length} bytes");
        }
    }
}

#[test]
fn padding_is_not_taken_for_a_message() {
    for family in FAMILIES {
        for left in 0..8_u16 {
            let sample = message(family, [3, 1], b"quoted");
            let frame = spoiled(&sample, |frame| match family {
                Family::V4 => put(frame, sample.network() + ipv4_field::LENGTH, (20 + left).to_be_bytes()),
                Family::V6 => put(frame, sample.network() + ipv6_field::PAYLOAD_LENGTH, left.to_be_bytes()),
            });
            assert_eq!(parse(frame.as_slice()), malformed(&sample), "{left} bytes");
        }
    }
}

/// An error that quotes the first bytes of what a frame carries, and the headers that the parser has to find there.
fn quoting(sample: &Sample, bytes: usize) -> (Vec<u8>, Headers, Headers) {
    let packet = &sample.frame()[sample.network()..];
    let kind = match sample.family() {
        Family::V4 => [3, 1],
        Family::V6 => [1, 3],
    };
    let error = message(sample.family(), kind, &packet[..bytes]);
    let start = error.transport() + 8;
    let quoted = Headers {
        network: start as u16,
        transport: (start + sample.transport() - sample.network()) as u16,
        length: bytes as u32,
        tcp_flags: 0,
        ..sample.headers()
    };
    (error.frame(), error.headers(), quoted)
}

#[test]
fn the_quoted_packet_is_parsed_as_soon_as_eight_bytes_of_its_transport_are_there() {
    let laden = [
        Sample {
            ipv4_options: vec![1; 40],
            ..Sample::new(Family::V4, ip_number::TCP)
        },
        Sample::extended(ip_number::UDP, [Extension::Destination(2), Extension::ATOMIC_FRAGMENT]),
    ];
    for sample in Sample::plain().into_iter().chain(laden) {
        let whole = sample.frame().len() - sample.network();
        let least = sample.transport() - sample.network() + 8;
        for bytes in 0..=whole {
            let (frame, error, quoted) = quoting(&sample, bytes);
            let expected = (bytes >= least).then_some(quoted);
            assert_eq!(
                parse_quoted(frame.as_slice(), &error),
                expected,
                "{bytes} bytes of {sample:?}"
            );
        }
    }
}

#[test]
fn only_the_first_fragment_shows_ports_when_it_is_quoted() {
    for (offset, more, shown) in [(0, true, true), (1, true, false), (1, false, false)] {
        let v6 = Sample::extended(ip_number::UDP, [Extension::Fragment { offset, more }]);
        let v4 = Sample::new(Family::V4, ip_number::UDP);
        for sample in [v4, v6] {
            let whole = sample.frame().len() - sample.network();
            let (mut frame, error, _) = quoting(&sample, whole);
            if sample.family() == Family::V4 {
                let field = usize::from(error.transport) + 8 + ipv4_field::FRAGMENT;
                let flag: u16 = if more { 0x2000 } else { 0 };
                put(&mut frame, field, (flag | offset).to_be_bytes());
            }
            let quoted = parse_quoted(frame.as_slice(), &error);
            assert_eq!(quoted.is_some(), shown, "{offset} {more}");
        }
    }
}

#[test]
fn what_is_neither_tcp_nor_udp_or_no_packet_at_all_is_not_taken_for_quoted() {
    for family in FAMILIES {
        let inner = message(family, [8, 0], b"ping pong");
        let (frame, error, _) = quoting(&inner, inner.frame().len() - inner.network());
        assert_eq!(parse_quoted(frame.as_slice(), &error), None);

        // Another version, and an IPv4 header shorter than the least.
        for first in [0x00, 0x44, 0x54, 0x70, 0xff] {
            let sample = Sample::new(family, ip_number::UDP);
            let (mut frame, error, _) = quoting(&sample, sample.frame().len() - sample.network());
            frame[usize::from(error.transport) + 8] = first;
            assert_eq!(parse_quoted(frame.as_slice(), &error), None, "{first:#04x}");
        }
    }
}

use etherparse::ip_number;

use super::*;

#[test]
fn every_header_length_is_obeyed() {
    for protocol in [ip_number::TCP, ip_number::UDP] {
        for words in 0..=10 {
            assert_parsed(&Sample {
                ipv4_options: vec![1; words * 4],
                ..Sample::new(Family::V4, protocol)
            });
        }
        for ihl in 0..5 {
            let sample = Sample::new(Family::V4, protocol);
            let frame = spoiled(&sample, |frame| frame[sample.network()] = 0x40 | ihl);
            assert_eq!(parse(frame.as_slice()), malformed(&sample), "{ihl} words");
        }
    }
}

#[test]
fn a_header_longer_than_its_packet_is_malformed() {
    let sample = Sample {
        ipv4_options: vec![1; 8],
        ..Sample::new(Family::V4, ip_number::UDP)
    };
    for length in (0..28).chain([sample.headers().length as u16 + 1, u16::MAX]) {
        let frame = spoiled(&sample, |frame| {
            put(frame, sample.network() + ipv4_field::LENGTH, length.to_be_bytes());
        });
        assert_eq!(parse(frame.as_slice()), malformed(&sample), "{length} bytes");
    }
}

#[test]
fn fragments_are_told_from_whole_packets() {
    for protocol in [ip_number::TCP, ip_number::UDP] {
        let sample = Sample::new(Family::V4, protocol);
        let with = |field: u16| {
            spoiled(&sample, |frame| {
                put(frame, sample.network() + ipv4_field::FRAGMENT, field.to_be_bytes());
            })
        };
        // Neither "don't fragment" nor the reserved bit makes a fragment.
        for field in [0x0000, 0x4000, 0x8000, 0xc000] {
            assert_eq!(parse(with(field).as_slice()), Ok(sample.headers()), "{field:#06x}");
        }
        // "More fragments", each bit of the offset, and both.
        for field in (0..=13).map(|bit| 1 << bit).chain([0x3fff, 0x6001, 0xffff]) {
            assert_eq!(parse(with(field).as_slice()), fragment(&sample), "{field:#06x}");
        }
    }
}

#[test]
fn fragments_of_other_protocols_are_foreign() {
    let sample = Sample::new(Family::V4, ip_number::TCP);
    for field in [0x2000, 0x0001] {
        let frame = spoiled(&sample, |frame| {
            put(frame, sample.network() + ipv4_field::FRAGMENT, u16::to_be_bytes(field));
            frame[sample.network() + ipv4_field::PROTOCOL] = ip_number::ICMP.0;
        });
        assert_eq!(parse(frame.as_slice()), FOREIGN);
    }
}

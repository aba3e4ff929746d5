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

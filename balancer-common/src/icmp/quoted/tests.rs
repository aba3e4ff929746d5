use core::net::SocketAddr;

use etherparse::ip_number;
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    packet::{
        parse, parse_quoted,
        samples::{Sample, checksums_are_right, samples},
    },
    rewrite::End,
};

/// An error that quotes the first bytes of the packet that a sample is.
fn error(sample: &Sample, bytes: usize) -> Sample {
    let kind = match sample.family() {
        Family::V4 => [3, 4],
        Family::V6 => [2, 0],
    };
    let packet = &sample.frame()[sample.network()..];
    Sample {
        tags: sample.tags.clone(),
        ..Sample::message(sample.family(), kind, [0, 0, 5, 0], &packet[..bytes])
    }
}

/// The ends of a packet, one of them replaced.
fn ends(quoted: &Headers, end: End, to: SocketAddr) -> Ends {
    let mut ends = Ends {
        source: quoted.source,
        destination: quoted.destination,
        ports: quoted.ports,
    };
    let (address, port) = match end {
        End::Source => (&mut ends.source, &mut ends.ports.source),
        End::Destination => (&mut ends.destination, &mut ends.ports.destination),
    };
    *address = to.ip().into();
    *port = to.port().to_be_bytes();
    ends
}

/// The error with one end of what it quotes translated.
#[track_caller]
fn translated(error: &Sample, end: End, to: SocketAddr) -> Vec<u8> {
    let mut frame = error.frame();
    let headers = parse(frame.as_slice()).unwrap();
    let quoted = parse_quoted(frame.as_slice(), &headers).unwrap();
    translate_quoted(frame.as_mut_slice(), &headers, &quoted, &ends(&quoted, end, to)).unwrap();
    frame
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Source), Just(End::Destination)]
}

prop_compose! {
    /// A packet, an end of it, what that is to be translated to, and how much of it is quoted.
    fn quotations()(
        sample in samples(),
        other in samples(),
        end in end(),
        cut in any::<Index>(),
        port in any::<u16>(),
    ) -> (Sample, End, SocketAddr, usize) {
        let to = if other.family() == sample.family() { other.source.ip() } else { sample.destination.ip() };
        let least = sample.transport() - sample.network() + 8;
        let whole = sample.frame().len() - sample.network();
        let mut bytes = least + cut.index(whole - least + 1);
        // Half a checksum cannot be updated, and routers quote whole words.
        if sample.protocol == ip_number::TCP && bytes == least - 8 + 17 {
            bytes -= 1;
        }
        (sample, end, SocketAddr::new(to, port), bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_translated_quotation_is_that_of_the_packet_that_the_other_side_knows((sample, end, to, bytes) in quotations()) {
        let mut known = sample.clone();
        match end {
            End::Source => known.source = to,
            End::Destination => known.destination = to,
        }
        let frame = translated(&error(&sample, bytes), end, to);
        prop_assert!(checksums_are_right(&frame));
        prop_assert_eq!(frame, error(&known, bytes).frame());
    }

    #[test]
    fn a_message_whose_checksum_was_wrong_stays_wrong((sample, end, to, bytes) in quotations(), flaw in 1..u16::MAX) {
        let error = error(&sample, bytes);
        let mut frame = error.frame();
        let headers = parse(frame.as_slice()).unwrap();
        let quoted = parse_quoted(frame.as_slice(), &headers).unwrap();
        let field = error.transport() + CHECKSUM;
        let right = u16::from_be_bytes([frame[field], frame[field + 1]]);
        // Another number in one's complement.
        let wrong = (u32::from(right) + u32::from(flaw)) % 0xffff;
        frame[field..field + 2].copy_from_slice(&(wrong as u16).to_be_bytes());
        translate_quoted(frame.as_mut_slice(), &headers, &quoted, &ends(&quoted, end, to)).unwrap();
        prop_assert!(!checksums_are_right(&frame));
    }

    #[test]
    fn a_message_that_lost_its_quotation_is_refused_and_never_panics((sample, end, to, bytes) in quotations(), cut in any::<Index>()) {
        let mut frame = error(&sample, bytes).frame();
        let headers = parse(frame.as_slice()).unwrap();
        let quoted = parse_quoted(frame.as_slice(), &headers).unwrap();
        frame.truncate(cut.index(usize::from(quoted.transport) + 4));
        let done = translate_quoted(frame.as_mut_slice(), &headers, &quoted, &ends(&quoted, end, to));
        prop_assert_eq!(done, None);
    }
}

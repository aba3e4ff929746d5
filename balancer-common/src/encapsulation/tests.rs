use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::HashSet;

use etherparse::{
    EtherType, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, UdpHeader, ether_type, ip_number,
};
use proptest::prelude::*;

use super::*;
use crate::{
    abi::Mac,
    packet::{
        parse, parse_plain,
        samples::{Extension, Sample, samples},
    },
};

const NEXT_HOP: NextHop = NextHop {
    interface: 2,
    destination: [2, 0, 0, 0, 0, 0xb],
    source: [2, 0, 0, 0, 0, 0xa],
};

const ENCAPSULATIONS: [Encapsulation; 2] = [Encapsulation::Ipip, Encapsulation::Gue];

fn ends(outer: Family) -> Ends {
    let (source, destination): (IpAddr, IpAddr) = match outer {
        Family::V4 => (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 11).into()),
        Family::V6 => (
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x11).into(),
        ),
    };
    Ends {
        source: source.into(),
        destination: destination.into(),
    }
}

#[track_caller]
fn wrapped(frame: &[u8], encapsulation: Encapsulation, ends: Ends) -> Vec<u8> {
    let headers = parse(frame).unwrap();
    let room = vec![0xa5; encapsulation.overhead(ends.family()) as usize];
    let mut frame = [room, frame.to_vec()].concat();
    wrap(frame.as_mut_slice(), &headers, encapsulation, ends, &NEXT_HOP).unwrap();
    frame
}

/// The sample's frame with traffic class.
fn marked(sample: &Sample, traffic_class: u8) -> Vec<u8> {
    let mut frame = sample.frame();
    let network = sample.network();
    match sample.family() {
        Family::V4 => {
            let mut header = Ipv4Header::from_slice(&frame[network..]).unwrap().0;
            header.dscp = IpDscp::try_new(traffic_class >> 2).unwrap();
            header.ecn = IpEcn::try_new(traffic_class & 3).unwrap();
            header.header_checksum = header.calc_header_checksum();
            let bytes = header.to_bytes();
            frame[network..network + bytes.len()].copy_from_slice(&bytes);
        }
        Family::V6 => {
            frame[network] = 0x60 | traffic_class >> 4;
            frame[network + 1] = traffic_class << 4;
        }
    }
    frame
}

/// What the frame has to be, built by another library. Source port, flow label and UDP checksum are the actual ones, to
/// be judged apart.
fn expected(frame: &[u8], sample: &Sample, encapsulation: Encapsulation, outer: Family, actual: &[u8]) -> Vec<u8> {
    let network = sample.network();
    let packet = &frame[network..frame.len()];
    let traffic_class = match sample.family() {
        Family::V4 => packet[1],
        Family::V6 => packet[0] << 4 | packet[1] >> 4,
    };
    let carried = match sample.family() {
        Family::V4 => ip_number::IPV4,
        Family::V6 => ip_number::IPV6,
    };
    let outer_len = match outer {
        Family::V4 => Ipv4Header::MIN_LEN,
        Family::V6 => Ipv6Header::LEN,
    };
    let (protocol, payload) = match encapsulation {
        Encapsulation::Ipip => (carried, packet.to_vec()),
        Encapsulation::Gue => {
            let udp = &actual[network + outer_len..];
            let header = UdpHeader {
                source_port: u16::from_be_bytes([udp[0], udp[1]]),
                destination_port: 6080,
                length: u16::try_from(8 + 4 + packet.len()).unwrap(),
                checksum: u16::from_be_bytes([udp[6], udp[7]]),
            };
            let gue = [0, carried.0, 0, 0];
            (ip_number::UDP, [&header.to_bytes(), gue.as_slice(), packet].concat())
        }
    };
    let label = u32::from_be_bytes([0, actual[network + 1] & 0xf, actual[network + 2], actual[network + 3]]);
    [
        link(frame, sample, outer),
        ip(protocol, traffic_class, label, outer, payload.len()),
        payload,
    ]
    .concat()
}

fn link(frame: &[u8], sample: &Sample, outer: Family) -> Vec<u8> {
    let macs: [Mac; 2] = [NEXT_HOP.destination, NEXT_HOP.source];
    let ether_type: EtherType = match outer {
        Family::V4 => ether_type::IPV4,
        Family::V6 => ether_type::IPV6,
    };
    let tags = &frame[12..sample.network() - 2];
    [&macs.concat(), tags, &ether_type.0.to_be_bytes()].concat()
}

fn ip(protocol: IpNumber, traffic_class: u8, label: u32, outer: Family, payload: usize) -> Vec<u8> {
    let ends = ends(outer);
    match (ends.source.into(), ends.destination.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let payload = u16::try_from(payload).unwrap();
            let mut header = Ipv4Header::new(payload, 64, protocol, source.octets(), destination.octets()).unwrap();
            header.dscp = IpDscp::try_new(traffic_class >> 2).unwrap();
            header.ecn = IpEcn::try_new(traffic_class & 3).unwrap();
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ipv6Header {
            traffic_class,
            flow_label: Ipv6FlowLabel::try_new(label).unwrap(),
            payload_length: u16::try_from(payload).unwrap(),
            next_header: protocol,
            hop_limit: 64,
            source: source.octets(),
            destination: destination.octets(),
        }
        .to_bytes()
        .to_vec(),
        ends => panic!("{ends:?} are of different families"),
    }
}

/// The outer UDP datagram's checksum and what it should be, under IPv6.
fn udp_checksums(sample: &Sample, frame: &[u8]) -> (u16, u16) {
    let ip = Ipv6Header::from_slice(&frame[sample.network()..]).unwrap().0;
    let udp = sample.network() + Ipv6Header::LEN;
    let (header, payload) = UdpHeader::from_slice(&frame[udp..]).unwrap();
    (header.checksum, header.calc_checksum_ipv6(&ip, payload).unwrap())
}

/// Whether all of the packet is under checksums that can be known without reading it.
fn is_summed_up(sample: &Sample) -> bool {
    let extended = sample.family() == Family::V6 && !sample.extensions.is_empty();
    !extended && (sample.checksummed || sample.protocol == ip_number::TCP)
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![Just(Encapsulation::Ipip), Just(Encapsulation::Gue)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn a_plain_packet_is_wrapped_alike(
        sample in prop::sample::select(Sample::plain().to_vec()),
        traffic_class: u8,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        encapsulation in encapsulation(),
        outer in family(),
    ) {
        let plain = marked(&Sample { payload, ..sample }, traffic_class);
        let headers = parse_plain(plain.as_slice()).unwrap();
        let room = vec![0xa5; encapsulation.overhead(outer) as usize];
        let mut frame = [room, plain.clone()].concat();
        let done = wrap_plain(frame.as_mut_slice(), &headers, encapsulation, outer, ends(outer), &NEXT_HOP, traffic_class);
        prop_assert_eq!(done, Some(()));
        prop_assert_eq!(frame, wrapped(&plain, encapsulation, ends(outer)));
    }

    #[test]
    fn a_wrapped_packet_is_the_one_that_would_be_built_anew(
        sample in samples(),
        traffic_class: u8,
        encapsulation in encapsulation(),
        outer in family(),
    ) {
        let frame = marked(&sample, traffic_class);
        let actual = wrapped(&frame, encapsulation, ends(outer));
        prop_assert_eq!(&actual, &expected(&frame, &sample, encapsulation, outer, &actual));
    }

    #[test]
    fn the_outer_udp_checksum_is_right_or_absent_where_the_inner_ones_do_not_cover_all(sample in samples()) {
        let frame = wrapped(&sample.frame(), Encapsulation::Gue, ends(Family::V6));
        let (actual, expected) = udp_checksums(&sample, &frame);
        prop_assert_eq!(actual, if is_summed_up(&sample) { expected } else { 0 });

        let frame = wrapped(&sample.frame(), Encapsulation::Gue, ends(Family::V4));
        let udp = sample.network() + Ipv4Header::MIN_LEN;
        prop_assert_eq!(&frame[udp + 6..udp + 8], &[0, 0]);
    }

    #[test]
    fn what_a_wrong_inner_checksum_hides_the_outer_one_does_not(mut sample in samples(), at: prop::sample::Index) {
        sample.checksummed = true;
        sample.extensions.clear();
        prop_assume!(!sample.payload.is_empty());
        let mut frame = sample.frame();
        let last = frame.len() - 1;
        let damaged = last - at.index(sample.payload.len());
        frame[damaged] ^= 1;
        let frame = wrapped(&frame, Encapsulation::Gue, ends(Family::V6));
        let (actual, expected) = udp_checksums(&sample, &frame);
        prop_assert_ne!(actual, expected);
    }

    #[test]
    fn a_frame_that_does_not_hold_the_headers_is_refused_and_never_panics(
        sample in samples(),
        encapsulation in encapsulation(),
        outer in family(),
        length: prop::sample::Index,
        network: u16,
        transport: u16,
    ) {
        let overhead = encapsulation.overhead(outer) as usize;
        let mut frame = [vec![0; overhead], sample.frame()].concat();
        let elsewhere = Headers { network, transport, ..sample.headers() };
        let _anything: Option<()> = wrap(frame.as_mut_slice(), &elsewhere, encapsulation, ends(outer), &NEXT_HOP);
        let mut short = vec![0; length.index(sample.network() + overhead)];
        let done = wrap(short.as_mut_slice(), &sample.headers(), encapsulation, ends(outer), &NEXT_HOP);
        prop_assert_eq!(done, None);
    }
}

#[test]
fn a_packet_that_would_become_too_long_is_refused() {
    let sample = Sample::new(Family::V4, ip_number::UDP);
    let frame = sample.frame();
    for encapsulation in ENCAPSULATIONS {
        for outer in [Family::V4, Family::V6] {
            let overhead = encapsulation.overhead(outer);
            for (length, fits) in [(65_535 - overhead, true), (65_536 - overhead, false)] {
                let headers = Headers {
                    length,
                    ..sample.headers()
                };
                let mut frame = [vec![0; overhead as usize], frame.clone()].concat();
                let done = wrap(frame.as_mut_slice(), &headers, encapsulation, ends(outer), &NEXT_HOP);
                assert_eq!(done.is_some(), fits, "{length} bytes, {encapsulation:?}, {outer:?}");
            }
        }
    }
}

/// The last word of an address takes every value, and so does the sum.
#[test]
fn every_outer_udp_checksum_there_is_comes_out_right() {
    for sample in Sample::plain() {
        let mut checksums = HashSet::new();
        for word in 0..=u16::MAX {
            let [high, low] = word.to_be_bytes();
            let ends = Ends {
                source: Address::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]),
                ..ends(Family::V6)
            };
            let frame = wrapped(&sample.frame(), Encapsulation::Gue, ends);
            let (actual, expected) = udp_checksums(&sample, &frame);
            assert_eq!(actual, expected, "{word:#06x}");
            checksums.insert(actual);
        }
        assert_eq!(checksums.len(), 0xffff, "all but zero");
        assert!(!checksums.contains(&0));
    }
}

#[test]
fn bytes_behind_a_udp_datagram_are_under_no_checksum() {
    for family in [Family::V4, Family::V6] {
        let mut sample = Sample::new(family, ip_number::UDP);
        let udp = sample.transport();
        let length = 8 + sample.payload.len();
        sample.payload.extend([1, 2, 3]);
        let mut frame = sample.frame();
        frame[udp + 4..udp + 6].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        let frame = wrapped(&frame, Encapsulation::Gue, ends(Family::V6));
        assert_eq!(udp_checksums(&sample, &frame).0, 0);
    }
}

#[test]
fn the_way_is_told_apart_by_flow_and_by_nothing_else() {
    let label = |frame: &[u8]| [frame[15] & 0xf, frame[16], frame[17]];
    let port = |frame: &[u8]| u16::from_be_bytes([frame[54], frame[55]]);
    let mut seen = HashSet::new();
    for client in 0..1_000 {
        let mut sample = Sample::new(Family::V4, ip_number::TCP);
        sample.source.set_port(40_000 + client);
        let first = wrapped(&sample.frame(), Encapsulation::Gue, ends(Family::V6));
        sample.payload = b"another segment".to_vec();
        let second = wrapped(&sample.frame(), Encapsulation::Gue, ends(Family::V6));
        assert_eq!((label(&first), port(&first)), (label(&second), port(&second)));
        assert!(port(&first) >= 49_152);
        seen.insert(port(&first));
    }
    // Of 16,384 ports, 1,000 flows share about thirty.
    assert!(seen.len() > 900, "{} ports", seen.len());
}

#[test]
fn extension_headers_leave_the_outer_checksum_out() {
    let sample = Sample::extended(ip_number::TCP, [Extension::HopByHop(0)]);
    let frame = wrapped(&sample.frame(), Encapsulation::Gue, ends(Family::V6));
    assert_eq!(udp_checksums(&sample, &frame).0, 0);
}

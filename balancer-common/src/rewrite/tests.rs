use core::net::{IpAddr, SocketAddr};
use std::collections::HashSet;

use etherparse::{IpNumber, ether_type, ip_number};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    abi::Mac,
    packet::{
        Ports, parse,
        samples::{Extension, Sample, checksums_are_right, samples},
    },
};

/// The frame of `sample` with one end translated.
#[track_caller]
fn translated(sample: &Sample, end: End, to: SocketAddr) -> Vec<u8> {
    let mut frame = sample.frame();
    let headers = parse(frame.as_slice()).unwrap();
    translate_to(&mut frame, &headers, end, to);
    frame
}

#[track_caller]
fn translate_to(frame: &mut [u8], headers: &Headers, end: End, to: SocketAddr) {
    let port = to.port().to_be_bytes();
    translate(frame, headers, end, to.ip().into(), port).unwrap();
}

/// Where the checksum is in a TCP or UDP header (RFC 9293, 3.1; RFC 768).
fn checksum_offset(protocol: IpNumber) -> usize {
    if protocol == ip_number::TCP { 16 } else { 6 }
}

/// Bytes of a TCP header without options or a UDP one.
fn transport_len(protocol: IpNumber) -> usize {
    if protocol == ip_number::TCP { 20 } else { 8 }
}

/// What `sample` is after the translation, to be built anew.
fn expected(sample: &Sample, end: End, to: SocketAddr) -> Sample {
    let mut sample = sample.clone();
    match end {
        End::Source => sample.source = to,
        End::Destination => sample.destination = to,
    }
    sample.ttl -= 1;
    sample
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Source), Just(End::Destination)]
}

/// An address of the family of `like`, made of some of `octets`.
fn address(like: &Sample, octets: [u8; 16]) -> IpAddr {
    match like.family() {
        Family::V4 => Address::v4([octets[0], octets[1], octets[2], octets[3]]).into(),
        Family::V6 => {
            let mut octets = octets;
            octets[0] |= 0x20;
            Address::v6(octets).into()
        }
    }
}

prop_compose! {
    /// A packet that may be forwarded, with one of its ends and something of the same family to translate it to.
    fn translations()(
        mut sample in samples(),
        end in end(),
        octets in any::<[u8; 16]>(),
        port in any::<u16>(),
    ) -> (Sample, End, SocketAddr) {
        sample.ttl = sample.ttl.max(2);
        let to = SocketAddr::new(address(&sample, octets), port);
        (sample, end, to)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn a_translated_packet_is_the_one_that_would_be_built_anew((sample, end, to) in translations()) {
        let frame = translated(&sample, end, to);
        prop_assert!(checksums_are_right(&frame));
        prop_assert_eq!(frame, expected(&sample, end, to).frame());
    }

    #[test]
    fn counting_down_changes_the_ttl_and_the_checksum_over_it((mut sample, _, _) in translations()) {
        let mut frame = sample.frame();
        prop_assert_eq!(count_down(frame.as_mut_slice(), &sample.headers()), Some(()));
        sample.ttl -= 1;
        prop_assert_eq!(frame, sample.frame());
    }

    #[test]
    fn translating_back_restores_all_but_the_ttl((mut sample, end, to) in translations()) {
        sample.ttl = sample.ttl.max(3);
        let from = match end {
            End::Source => sample.source,
            End::Destination => sample.destination,
        };
        let headers = sample.headers();
        let mut frame = translated(&sample, end, to);
        let moved = match end {
            End::Source => Headers {
                source: to.ip().into(),
                ports: Ports { source: to.port().to_be_bytes(), ..headers.ports },
                ..headers
            },
            End::Destination => Headers {
                destination: to.ip().into(),
                ports: Ports { destination: to.port().to_be_bytes(), ..headers.ports },
                ..headers
            },
        };
        translate_to(&mut frame, &moved, end, from);
        sample.ttl -= 2;
        prop_assert_eq!(frame, sample.frame());
    }

    #[test]
    fn a_wrong_checksum_stays_wrong((mut sample, end, to) in translations(), error in 1..u16::MAX) {
        sample.checksummed = true;
        let headers = sample.headers();
        let (network, transport) = (usize::from(headers.network), usize::from(headers.transport));
        let transport_checksum = transport + checksum_offset(sample.protocol);
        let fields = match sample.family() {
            Family::V4 => vec![network + 10, transport_checksum],
            Family::V6 => vec![transport_checksum],
        };
        for field in fields {
            let mut frame = sample.frame();
            let right = u16::from_be_bytes([frame[field], frame[field + 1]]);
            // Another number in one's complement, and not zero, which for UDP means that there is no checksum.
            let wrong = (u32::from(right) + u32::from(error) + 0xfffe) % 0xffff + 1;
            frame[field..field + 2].copy_from_slice(&(wrong as u16).to_be_bytes());
            translate_to(&mut frame, &headers, end, to);
            prop_assert!(!checksums_are_right(&frame));
        }
    }

    #[test]
    fn a_packet_that_lost_its_headers_is_refused_and_never_panics(
        (sample, end, to) in translations(),
        cut in any::<Index>(),
        network in any::<u16>(),
        transport in any::<u16>(),
    ) {
        let port = to.port().to_be_bytes();
        let headers = sample.headers();
        let frame = sample.frame();
        let end_of_headers = sample.transport() + transport_len(sample.protocol);
        let mut short = frame[..cut.index(end_of_headers)].to_vec();
        prop_assert_eq!(translate(short.as_mut_slice(), &headers, end, to.ip().into(), port), None);

        let elsewhere = Headers { network, transport, ..headers };
        let mut frame = frame;
        let length = frame.len();
        let done = translate(frame.as_mut_slice(), &elsewhere, end, to.ip().into(), port);
        let fits = |offset: u16, header_len: usize| usize::from(offset) + header_len <= length;
        let network_len = if sample.family() == Family::V4 { 20 } else { 40 };
        prop_assert_eq!(done.is_some(), fits(network, network_len) && fits(transport, transport_len(sample.protocol)));
    }

    #[test]
    fn a_frame_is_addressed_without_touching_the_rest(
        frame in vec(any::<u8>(), 14..64),
        destination in any::<Mac>(),
        source in any::<Mac>(),
    ) {
        let next_hop = NextHop { interface: 1, destination, source };
        let mut addressed = frame.clone();
        prop_assert_eq!(address_frame(addressed.as_mut_slice(), &next_hop), Some(()));
        prop_assert_eq!(addressed, [destination.as_slice(), &source, &frame[12..]].concat());
    }
}

#[test]
fn a_frame_shorter_than_its_header_cannot_be_addressed() {
    for length in 0..Ethernet::LEN {
        assert_eq!(address_frame(vec![0; length].as_mut_slice(), &NextHop::default()), None);
    }
}

/// Packets with everything that a header can be moved by.
fn laden(protocol: IpNumber) -> [Sample; 2] {
    let tags = vec![ether_type::PROVIDER_BRIDGING, ether_type::VLAN_TAGGED_FRAME];
    [
        Sample {
            tags: tags.clone(),
            ipv4_options: vec![1; 40],
            ..Sample::new(Family::V4, protocol)
        },
        Sample {
            tags,
            ..Sample::extended(
                protocol,
                [
                    Extension::HopByHop(1),
                    Extension::Routing {
                        segments_left: 0,
                        units: 2,
                    },
                    Extension::ATOMIC_FRAGMENT,
                    Extension::Authentication(4),
                    Extension::Destination(0),
                ],
            )
        },
    ]
}

#[test]
fn extreme_addresses_and_ports_are_summed_up_right() {
    let octets = [
        [0; 16],
        [0xff; 16],
        [0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff],
    ];
    let samples = Sample::plain()
        .into_iter()
        .chain(laden(ip_number::TCP))
        .chain(laden(ip_number::UDP));
    for sample in samples {
        for (octets, port) in octets
            .into_iter()
            .flat_map(|octets| [0, 1, 0x00ff, 0xff00, 0xffff].map(|port| (octets, port)))
        {
            let address = match sample.family() {
                Family::V4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                Family::V6 => IpAddr::from(octets),
            };
            let to = SocketAddr::new(address, port);
            for end in [End::Source, End::Destination] {
                for ttl in [2, 128, 255] {
                    let sample = Sample { ttl, ..sample.clone() };
                    let frame = translated(&sample, end, to);
                    assert_eq!(
                        frame,
                        expected(&sample, end, to).frame(),
                        "{end:?} to {to} of {sample:?}"
                    );
                }
            }
        }
    }
}

/// The last word of the payload takes every value, and so does the checksum.
#[test]
fn every_checksum_there_is_comes_out_right() {
    for mut sample in Sample::plain() {
        let to = match sample.family() {
            Family::V4 => "10.0.0.11:9999",
            Family::V6 => "[fd00::11]:9999",
        }
        .parse()
        .unwrap();
        let mut target = expected(&sample, End::Destination, to);
        let mut checksums = HashSet::new();
        let field = sample.transport() + checksum_offset(sample.protocol);
        for word in 0..=u16::MAX {
            sample.payload = word.to_be_bytes().to_vec();
            target.payload.clone_from(&sample.payload);
            let frame = translated(&sample, End::Destination, to);
            assert_eq!(frame, target.frame(), "{word:#06x}");
            checksums.insert([frame[field], frame[field + 1]]);
        }
        assert_eq!(checksums.len(), 0xffff, "all but one of the two zeros");
    }
}

#[test]
fn every_ipv4_header_checksum_there_is_comes_out_right() {
    let to = "10.0.0.11:9999".parse().unwrap();
    let mut checksums = HashSet::new();
    for word in 0..=u16::MAX {
        let [high, low] = word.to_be_bytes();
        let mut sample = Sample::new(Family::V4, ip_number::UDP);
        sample.source.set_ip([198, 51, high, low].into());
        let frame = translated(&sample, End::Destination, to);
        assert_eq!(frame, expected(&sample, End::Destination, to).frame(), "{word:#06x}");
        let field = sample.network() + 10;
        checksums.insert([frame[field], frame[field + 1]]);
    }
    assert_eq!(checksums.len(), 0xffff, "all but one of the two zeros");
}

#[test]
fn a_udp_datagram_without_a_checksum_stays_without() {
    for family in [Family::V4, Family::V6] {
        let sample = Sample {
            checksummed: false,
            ..Sample::new(family, ip_number::UDP)
        };
        let to = SocketAddr::new(sample.source.ip(), 1);
        for end in [End::Source, End::Destination] {
            let frame = translated(&sample, end, to);
            let checksum = sample.transport() + checksum_offset(ip_number::UDP);
            assert_eq!(frame[checksum..checksum + 2], [0, 0]);
            assert_eq!(frame, expected(&sample, end, to).frame());
        }
    }
}

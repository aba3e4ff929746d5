mod corpus;
mod fragment;
mod icmp;
mod ipv4;
mod ipv6;
mod properties;

use etherparse::{IpNumber, ether_type, ip_number};

use super::*;
use crate::{
    abi::Mac,
    packet::{
        Wire,
        samples::{Extension, Sample},
    },
};

/// Where the fields that the tests spoil are in the IPv4 header (RFC 791, 3.1).
mod ipv4_field {
    pub(super) const LENGTH: usize = 2;
    pub(super) const IDENTIFICATION: usize = 4;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const PROTOCOL: usize = 9;
}

/// Where the fields that the tests spoil are in the IPv6 header (RFC 8200, 3).
mod ipv6_field {
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
}

/// Offset of a TCP header's length, and of a UDP one's (RFC 9293, 3.1; RFC 768).
const TCP_DATA_OFFSET: usize = 12;
const UDP_LENGTH: usize = 4;

/// Bytes of the shortest frame without its check sequence (IEEE 802.3).
const SHORTEST_FRAME: usize = 60;

fn put<const N: usize>(frame: &mut [u8], offset: usize, bytes: [u8; N]) {
    frame[offset..offset + N].copy_from_slice(&bytes);
}

/// A sample's frame, changed.
fn spoiled(sample: &Sample, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = sample.frame();
    change(&mut frame);
    frame
}

#[track_caller]
fn assert_parsed(sample: &Sample) {
    assert_eq!(parse(sample.frame().as_slice()), Ok(sample.headers()), "{sample:?}");
}

fn malformed(sample: &Sample) -> Result<Headers, Unparsed> {
    Err(Unparsed::Malformed(sample.destination.ip().into()))
}

const FOREIGN: Result<Headers, Unparsed> = Err(Unparsed::Foreign);

#[test]
fn a_packet_written_out_by_hand_is_parsed() {
    let frame = [
        [0x02, 0, 0, 0, 0, 1].as_slice(),
        &[0x02, 0, 0, 0, 0, 2],
        &[0x81, 0x00, 0x20, 0x05, 0x08, 0x00],
        &[0x46, 0x00, 0x00, 0x22, 0x00, 0x01, 0x40, 0x00, 0x3f, 0x11, 0x00, 0x00],
        &[198, 51, 100, 7, 192, 0, 2, 10],
        &[0x01, 0x01, 0x01, 0x00],
        &[0x9c, 0x40, 0x00, 0x35, 0x00, 0x0a, 0x00, 0x00, b'h', b'i'],
    ]
    .concat();
    let expected = Headers {
        source: Address::v4([198, 51, 100, 7]),
        destination: Address::v4([192, 0, 2, 10]),
        ports: Ports {
            source: 40_000_u16.to_be_bytes(),
            destination: 53_u16.to_be_bytes(),
        },
        length: 34,
        fragment: Fragment::NONE,
        network: 18,
        transport: 42,
        family: Family::V4,
        protocol: 17,
        ttl: 63,
        tcp_flags: 0,
    };
    assert_eq!(parse(frame.as_slice()), Ok(expected));
}

#[test]
fn up_to_two_vlan_tags_are_looked_through() {
    let (customer, service) = (ether_type::VLAN_TAGGED_FRAME, ether_type::PROVIDER_BRIDGING);
    for plain in Sample::plain() {
        for tags in [
            vec![],
            vec![customer],
            vec![service],
            vec![customer, customer],
            vec![service, customer],
            vec![service, service],
        ] {
            assert_parsed(&Sample { tags, ..plain.clone() });
        }
        for third in [customer, service] {
            let tags = vec![service, customer, third];
            assert_eq!(parse(Sample { tags, ..plain.clone() }.frame().as_slice()), FOREIGN);
        }
    }
}

#[test]
fn other_ether_types_are_foreign() {
    // ARP, RARP, MPLS, PPPoE, LLDP, MACsec, a tag of before 802.1ad, and lengths of 802.3 frames.
    for ether_type in [0x0806, 0x8035, 0x8847, 0x8864, 0x88cc, 0x88e5, 0x9100, 0x0000, 0x05dc] {
        for sample in Sample::plain() {
            let frame = spoiled(&sample, |frame| put(frame, 12, u16::to_be_bytes(ether_type)));
            assert_eq!(parse(frame.as_slice()), FOREIGN, "{ether_type:#06x}");
        }
    }
}

#[test]
fn frames_for_a_group_of_hosts_are_foreign() {
    let groups: [Mac; 4] = [
        [0xff; 6],
        [0x01, 0, 0x5e, 0, 0, 1],
        [0x33, 0x33, 0, 0, 0, 1],
        [0x03, 0, 0, 0, 0, 1],
    ];
    for group in groups {
        for sample in Sample::plain() {
            let frame = spoiled(&sample, |frame| put(frame, 0, group));
            assert_eq!(parse(frame.as_slice()), FOREIGN, "{group:x?}");
        }
    }
}

#[test]
fn every_other_protocol_is_foreign() {
    for protocol in (0..=u8::MAX).filter(|&protocol| !is_transport(protocol)) {
        if protocol != ip_number::ICMP.0 {
            let sample = Sample::new(Family::V4, IpNumber(protocol));
            assert_eq!(parse(sample.frame().as_slice()), FOREIGN, "IPv4 protocol {protocol}");
        }
        let extensions = [0, 43, 44, 51, 60];
        if !extensions.contains(&protocol) && protocol != ip_number::IPV6_ICMP.0 {
            let sample = Sample::new(Family::V6, IpNumber(protocol));
            assert_eq!(parse(sample.frame().as_slice()), FOREIGN, "IPv6 next header {protocol}");
            let sample = Sample::extended(IpNumber(protocol), [Extension::HopByHop(0)]);
            assert_eq!(
                parse(sample.frame().as_slice()),
                FOREIGN,
                "next header {protocol} behind another"
            );
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_never_parsed() {
    let long = Sample {
        tags: vec![ether_type::PROVIDER_BRIDGING, ether_type::VLAN_TAGGED_FRAME],
        ipv4_options: vec![1; 40],
        tcp_options: vec![1; 40],
        ..Sample::new(Family::V4, ip_number::TCP)
    };
    let extended = [ip_number::TCP, ip_number::UDP].map(|protocol| {
        Sample::extended(
            protocol,
            [
                Extension::HopByHop(1),
                Extension::Routing {
                    segments_left: 0,
                    units: 2,
                },
                Extension::ATOMIC_FRAGMENT,
                Extension::Authentication(4),
            ],
        )
    });
    for sample in Sample::plain().into_iter().chain([long]).chain(extended) {
        let frame = sample.frame();
        let addresses_end = sample.network()
            + match sample.family() {
                Family::V4 => 20,
                Family::V6 => 40,
            };
        for length in 0..frame.len() {
            let expected = if length < addresses_end {
                FOREIGN
            } else {
                malformed(&sample)
            };
            assert_eq!(parse(&frame[..length]), expected, "{length} bytes of {sample:?}");
        }
    }
}

#[test]
fn padding_behind_the_packet_is_not_counted() {
    for mut sample in Sample::plain() {
        sample.payload.clear();
        for padding in [1, 18, 1_400] {
            let frame = spoiled(&sample, |frame| frame.resize(frame.len() + padding, 0xff));
            assert_eq!(parse(frame.as_slice()), Ok(sample.headers()));
        }
    }
}

#[test]
fn padding_is_not_taken_for_headers() {
    // Each packet ends before its transport header, which the frame nevertheless holds.
    for mut sample in Sample::plain() {
        sample.payload.clear();
        let (network, transport) = (sample.network(), sample.transport());
        let least = match sample.protocol {
            ip_number::UDP => 8,
            _ => 20,
        };
        for left in 0..least {
            let frame = spoiled(&sample, |frame| {
                match sample.family() {
                    Family::V4 => put(frame, network + ipv4_field::LENGTH, u16::to_be_bytes(20 + left)),
                    Family::V6 => put(frame, network + ipv6_field::PAYLOAD_LENGTH, left.to_be_bytes()),
                }
                frame.resize(frame.len().max(SHORTEST_FRAME), 0);
            });
            assert_eq!(
                parse(frame.as_slice()),
                malformed(&sample),
                "{left} bytes from {transport}"
            );
        }
    }
}

#[test]
fn a_wrong_version_is_malformed() {
    for sample in Sample::plain() {
        let own = sample.frame()[sample.network()] >> 4;
        for version in (0..16_u8).filter(|&version| version != own) {
            let frame = spoiled(&sample, |frame| {
                let first = &mut frame[sample.network()];
                *first = version << 4 | *first & 0x0f;
            });
            assert_eq!(parse(frame.as_slice()), malformed(&sample), "version {version}");
        }
    }
}

#[test]
fn the_largest_packets_are_parsed() {
    for (family, protocol, headers) in [
        (Family::V4, ip_number::TCP, 40),
        (Family::V4, ip_number::UDP, 28),
        (Family::V6, ip_number::TCP, 20),
        (Family::V6, ip_number::UDP, 8),
    ] {
        assert_parsed(&Sample {
            payload: vec![0; usize::from(u16::MAX) - headers],
            ..Sample::new(family, protocol)
        });
    }
}

#[test]
fn a_tcp_header_fits_its_packet() {
    for family in [Family::V4, Family::V6] {
        for words in 0..=10 {
            assert_parsed(&Sample {
                tcp_options: vec![1; words * 4],
                payload: Vec::new(),
                ..Sample::new(family, ip_number::TCP)
            });
        }
        // Eight bytes of payload have room for a header of seven words.
        let sample = Sample::new(family, ip_number::TCP);
        for words in 0..16_u8 {
            let frame = spoiled(&sample, |frame| {
                frame[sample.transport() + TCP_DATA_OFFSET] = words << 4;
                // Padding has more room, but is not the packet's.
                frame.resize(frame.len() + 64, 0);
            });
            let expected = if (5..=7).contains(&words) {
                Ok(sample.headers())
            } else {
                malformed(&sample)
            };
            assert_eq!(parse(frame.as_slice()), expected, "{words} words");
        }
    }
}

#[test]
fn a_udp_length_fits_its_packet() {
    for family in [Family::V4, Family::V6] {
        let sample = Sample::new(family, ip_number::UDP);
        let whole = 8 + sample.payload.len() as u16;
        for length in (0..=whole + 8).chain([u16::MAX]) {
            let frame = spoiled(&sample, |frame| {
                put(frame, sample.transport() + UDP_LENGTH, length.to_be_bytes());
                frame.resize(frame.len() + 64, 0);
            });
            // What is left of the packet behind the datagram may be UDP options (RFC 9868).
            let expected = if (8..=whole).contains(&length) {
                Ok(sample.headers())
            } else {
                malformed(&sample)
            };
            assert_eq!(parse(frame.as_slice()), expected, "{length} bytes");
        }
    }
}

#[test]
fn sources_that_no_router_forwards_for_are_foreign() {
    for (source, forwarded) in [
        ("0.0.0.0", false),
        ("0.255.255.255", false),
        ("1.0.0.0", true),
        ("126.255.255.255", true),
        ("127.0.0.1", false),
        ("128.0.0.0", true),
        ("223.255.255.255", true),
        ("224.0.0.1", false),
        ("239.255.255.255", false),
        ("240.0.0.1", true),
        ("255.255.255.254", true),
        ("255.255.255.255", false),
        ("::", false),
        ("::1", false),
        ("64:ff9b::192.0.2.1", true),
        ("2001:db8::1", true),
        ("fc00::1", true),
        ("fe7f:ffff::1", true),
        ("fe80::1", false),
        ("febf:ffff::1", false),
        ("fec0::1", true),
        ("feff::1", true),
        ("ff02::1", false),
    ] {
        let address: core::net::IpAddr = source.parse().unwrap();
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        for protocol in [ip_number::TCP, ip_number::UDP] {
            let mut sample = Sample::new(family, protocol);
            sample.source.set_ip(address);
            let expected = if forwarded { Ok(sample.headers()) } else { FOREIGN };
            assert_eq!(parse(sample.frame().as_slice()), expected, "{source}");
        }
    }
}

/// A packet of which only the first bytes can be viewed, as that of a jumbo frame whose rest is in further buffers.
struct Scattered {
    bytes: Vec<u8>,
    linear: usize,
}

impl Packet for Scattered {
    fn has(&self, length: usize) -> bool {
        self.bytes.has(length)
    }

    fn surely_has(&self, length: usize) -> bool {
        length <= self.linear
    }

    fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        self.bytes[..self.linear].view(offset)
    }

    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        self.bytes[..self.linear].view_mut(offset)
    }
}

#[test]
fn only_the_headers_of_a_frame_need_to_be_in_its_first_buffer() {
    for mut sample in Sample::plain() {
        sample.payload = vec![0; 9_000];
        let header_len = match sample.protocol {
            ip_number::UDP => 8,
            _ => 20,
        };
        let end = sample.transport() + header_len;
        let with = |linear| Scattered {
            bytes: sample.frame(),
            linear,
        };
        assert_eq!(parse(&with(end)), Ok(sample.headers()));
        assert_eq!(parse(&with(end - 1)), malformed(&sample));
        let whole = sample.frame().len();
        assert_eq!(parse_plain(&with(whole)), Some(sample.headers()));
        assert_eq!(parse_plain(&with(whole - 1)), None);
    }
}

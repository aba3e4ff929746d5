//! What holds for any bytes, with `etherparse` as the judge of what they are.

use core::net::IpAddr;

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, ether_type};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::packet::{
    parse::*,
    samples::{Sample, samples},
};

/// What `etherparse` finds in a frame that it takes for a TCP segment, a UDP datagram or an ICMP message.
fn judged(frame: &[u8]) -> Option<Headers> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (protocol, source_port, destination_port, tcp_flags, transport) = match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => (6, tcp.source_port(), tcp.destination_port(), flags(tcp), tcp.slice()),
        TransportSlice::Udp(udp) => (17, udp.source_port(), udp.destination_port(), 0, udp.slice()),
        TransportSlice::Icmpv4(icmp) => (1, 0, 0, 0, icmp.slice()),
        TransportSlice::Icmpv6(icmp) => (58, 0, 0, 0, icmp.slice()),
        TransportSlice::Igmp(_) => return None,
    };
    let offset = |part: &[u8]| u16::try_from(part.as_ptr().addr() - frame.as_ptr().addr()).unwrap();
    let (family, source, destination, header, length, ttl) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let (source, destination) = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
            let length = u32::from(header.total_len());
            (Family::V4, source, destination, header.slice(), length, header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let (source, destination) = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
            let length = 40 + u32::from(header.payload_length());
            (
                Family::V6,
                source,
                destination,
                header.slice(),
                length,
                header.hop_limit(),
            )
        }
        NetSlice::Arp(_) => return None,
    };
    Some(Headers {
        source: source.into(),
        destination: destination.into(),
        ports: Ports {
            source: source_port.to_be_bytes(),
            destination: destination_port.to_be_bytes(),
        },
        length,
        fragment: Fragment::NONE,
        network: offset(header),
        transport: offset(transport),
        family,
        protocol,
        ttl,
        tcp_flags,
    })
}

fn flags(tcp: &TcpSlice<'_>) -> u8 {
    [
        tcp.fin(),
        tcp.syn(),
        tcp.rst(),
        tcp.psh(),
        tcp.ack(),
        tcp.urg(),
        tcp.ece(),
        tcp.cwr(),
    ]
    .into_iter()
    .rev()
    .fold(0, |flags, flag| flags << 1 | u8::from(flag))
}

/// Whether a packet that `etherparse` takes for a TCP segment, a UDP datagram or an ICMP message is one that the parser has
/// to refuse.
fn refusable(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let tag = |extension: &LinkExtSlice<'_>| match extension {
        LinkExtSlice::Vlan(_) => true,
        LinkExtSlice::Macsec(_) => false,
    };
    let link = frame[0] & 1 != 0
        || packet.link_exts.len() > 2
        || !packet.link_exts.iter().all(tag)
        || frame[12..].chunks(4).take(packet.link_exts.len()).any(|tag| {
            let old: [u8; 2] = ether_type::VLAN_DOUBLE_TAGGED_FRAME.0.to_be_bytes();
            tag.starts_with(&old)
        });
    let network = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let source = ip.header().source_addr();
            let martian =
                source.octets()[0] == 0 || source.is_loopback() || source.is_multicast() || source.is_broadcast();
            martian || ip.extensions().auth.is_some()
        }
        NetSlice::Ipv6(ip) => {
            let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
            let martian = source.octets()[..8] == [0; 8] || source.is_multicast() || source.is_unicast_link_local();
            let mut extensions = ip.extensions().clone().into_iter();
            let routed = extensions.any(|extension| match extension {
                etherparse::Ipv6ExtensionSlice::Routing(routing) => routing.payload()[1] != 0,
                _ => false,
            });
            martian
                || destination.to_ipv4_mapped().is_some()
                || routed
                || ip.extensions().clone().into_iter().count() > 6
                || ip.header().payload_length() == 0
        }
        NetSlice::Arp(_) => true,
    };
    let is_v4 = matches!(packet.net, Some(NetSlice::Ipv4(_)));
    let transport = match packet.transport.unwrap() {
        TransportSlice::Udp(udp) => udp.length() == 0,
        TransportSlice::Icmpv4(_) => !is_v4,
        TransportSlice::Icmpv6(_) => is_v4,
        TransportSlice::Tcp(_) | TransportSlice::Igmp(_) => false,
    };
    link || network || transport
}

/// Whether the frame has a message for whose type `etherparse` wants more than a header (RFC 792, timestamps).
fn is_timestamp(frame: &[u8], found: &Headers) -> bool {
    found.protocol == protocol::ICMP && matches!(frame[usize::from(found.transport)], 13 | 14)
}

/// What the parser says of a fragment is true: `etherparse` takes it for one too.
fn check_fragment(frame: &[u8], found: &Headers) -> Result<(), TestCaseError> {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        // It takes what a later fragment carries for extension headers.
        prop_assert!(found.fragment.piece == Piece::Later);
        return Ok(());
    };
    let (fragmented, protocol) = match packet.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            prop_assert_eq!(u32::from(header.identification()), found.fragment.identification);
            let is_first = header.fragments_offset().value() == 0;
            prop_assert_eq!(is_first, found.fragment.piece == Piece::First);
            (ip.payload().fragmented, header.protocol().0)
        }
        NetSlice::Ipv6(ip) => (ip.payload().fragmented, 44),
        other @ NetSlice::Arp(_) => panic!("{other:?}"),
    };
    prop_assert!(fragmented);
    prop_assert_eq!(protocol, found.fragment.protocol);
    prop_assert_eq!(found.has_ports(), found.fragment.piece == Piece::First);
    Ok(())
}

/// What the parser says of a frame is true, and it accepts exactly what it should.
pub(super) fn check(frame: &[u8]) -> Result<(), TestCaseError> {
    if let Some(headers) = parse_plain(frame) {
        prop_assert_eq!(parse(frame), Ok(headers));
    }
    match (parse(frame), judged(frame)) {
        (Ok(found), judged) if found.fragment.piece != Piece::Whole => {
            prop_assert_eq!(judged, None);
            check_fragment(frame, &found)?;
        }
        (Ok(found), None) if is_timestamp(frame, &found) => {}
        (Ok(found), judged) => {
            prop_assert_eq!(Some(found), judged);
            prop_assert!(!refusable(frame));
            let (network, transport) = (usize::from(found.network), usize::from(found.transport));
            let end = network + found.length as usize;
            prop_assert!(network >= 14);
            prop_assert!(transport >= network + 20);
            prop_assert!(end <= frame.len());
            let header_len = if found.protocol == protocol::TCP { 20 } else { 8 };
            prop_assert!(transport + header_len <= end);
            if found.has_ports() {
                prop_assert_eq!(&frame[transport..transport + 2], &found.ports.source);
                prop_assert_eq!(&frame[transport + 2..transport + 4], &found.ports.destination);
            }
            prop_assert_eq!(found.family == Family::V4, found.source.is_v4());
            prop_assert_eq!(found.family == Family::V4, found.destination.is_v4());
        }
        (Err(_), None) => {}
        (Err(unparsed), Some(judged)) => prop_assert!(refusable(frame), "{unparsed:?} {judged:?}"),
    }
    Ok(())
}

/// Bytes that mean something to a parser: versions and lengths, protocols, extension headers.
const TELLING: [u8; 17] = [
    0, 1, 2, 4, 6, 17, 43, 44, 51, 58, 60, 0x40, 0x45, 0x50, 0x60, 0x81, 0xff,
];

/// Any byte, and more often than not a telling one.
fn byte() -> impl Strategy<Value = u8> {
    any::<u16>().prop_map(|choice| {
        let [byte, choice] = choice.to_be_bytes();
        TELLING.get(usize::from(choice % 24)).copied().unwrap_or(byte)
    })
}

#[test]
fn plain_packets_are_parsed_the_short_way_and_no_others() {
    for sample in Sample::plain() {
        let (frame, headers) = (sample.frame(), sample.headers());
        assert_eq!(parse_plain(frame.as_slice()), Some(headers));
        let ends = match headers.family {
            Family::V4 => ends_ipv4(frame.as_slice()),
            Family::V6 => ends_ipv6(frame.as_slice()),
        };
        assert_eq!(ends, Some([headers.source, headers.destination]));
        let tagged = Sample {
            tags: vec![ether_type::VLAN_TAGGED_FRAME],
            ..sample
        };
        assert_eq!(parse_plain(tagged.frame().as_slice()), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn valid_packets_are_parsed_with_or_without_padding(sample in samples(), padding in vec(any::<u8>(), 0..64)) {
        let frame = [sample.frame(), padding].concat();
        prop_assert_eq!(parse(frame.as_slice()), Ok(sample.headers()));
        check(&frame)?;
    }

    #[test]
    fn any_bytes_are_safe_to_parse(frame in vec(any::<u8>(), 0..256)) {
        check(&frame)?;
    }

    #[test]
    fn any_bytes_behind_an_ethernet_header_are_safe_to_parse(
        ether_type in prop_oneof![Just(Ethernet::IPV4), Just(Ethernet::IPV6), Just(Ethernet::VLAN)],
        packet in vec(byte(), 0..128),
    ) {
        check(&[[2; 12].as_slice(), &ether_type, &packet].concat())?;
    }

    #[test]
    fn spoiled_packets_are_safe_to_parse(
        sample in samples(),
        changes in vec((any::<Index>(), byte()), 1..6),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut frame = sample.frame();
        for (index, byte) in changes {
            *index.get_mut(&mut frame) = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        check(&frame)?;
    }

    #[test]
    fn spoiled_headers_are_safe_to_parse(
        sample in samples(),
        changes in vec((0..64_usize, byte()), 1..6),
    ) {
        let mut frame = sample.frame();
        let network = sample.network();
        for (offset, byte) in changes {
            if let Some(target) = frame.get_mut(network + offset) {
                *target = byte;
            }
        }
        check(&frame)?;
    }
}

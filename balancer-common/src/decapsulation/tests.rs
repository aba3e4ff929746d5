use etherparse::{Ipv4Header, ip_number};
use proptest::prelude::*;

use super::*;
use crate::{
    abi::NextHop,
    encapsulation::{Ends, wrap},
    packet::{
        Headers, parse,
        samples::{Sample, samples},
    },
};

const ENCAPSULATIONS: [Encapsulation; 2] = [Encapsulation::Ipip, Encapsulation::Gue];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn ends(outer: Family) -> Ends {
    match outer {
        Family::V4 => Ends {
            source: Address::v4([10, 0, 0, 1]),
            destination: Address::v4([10, 0, 0, 11]),
        },
        Family::V6 => Ends {
            source: Address::v6([0xfd; 16]),
            destination: Address::v6([0xfe; 16]),
        },
    }
}

/// The frame's own MACs, so that what comes out can be compared with what went in.
fn next_hop(frame: &[u8]) -> NextHop {
    NextHop {
        interface: 1,
        destination: *frame.view(0).unwrap(),
        source: *frame.view(6).unwrap(),
    }
}

fn wrapped(frame: &[u8], headers: &Headers, encapsulation: Encapsulation, outer: Family) -> Vec<u8> {
    let room = vec![0; encapsulation.overhead(outer) as usize];
    let mut whole = [room, frame.to_vec()].concat();
    wrap(
        whole.as_mut_slice(),
        headers,
        encapsulation,
        ends(outer),
        &next_hop(frame),
    )
    .unwrap();
    whole
}

/// Each kind of tunnel, with a packet of either family inside.
fn tunnels() -> impl Iterator<Item = (Sample, Encapsulation, Family, Vec<u8>)> {
    let samples = FAMILIES.map(|family| Sample::new(family, ip_number::UDP));
    samples.into_iter().flat_map(|sample| {
        ENCAPSULATIONS.into_iter().flat_map(move |encapsulation| {
            let sample = sample.clone();
            FAMILIES.map(move |outer| {
                let frame = wrapped(&sample.frame(), &sample.headers(), encapsulation, outer);
                (sample.clone(), encapsulation, outer, frame)
            })
        })
    })
}

/// Takes a packet out as the program does it.
fn unwrapped(mut frame: Vec<u8>) -> Result<Option<(Fate, Vec<u8>)>, Fate> {
    let Some(found) = find(frame.as_slice())? else {
        return Ok(None);
    };
    let opened = found.open(frame.as_mut_slice())?;
    frame.drain(..opened.excess() as usize);
    let fate = opened.address(frame.as_mut_slice()).unwrap();
    Ok(Some((fate, frame)))
}

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop::sample::select(&ENCAPSULATIONS[..])
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(&FAMILIES[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn what_was_put_in_comes_out(
        sample in samples(),
        encapsulation in encapsulation(),
        outer in family(),
        padding in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let frame = sample.frame();
        let mut tunnelled = wrapped(&frame, &sample.headers(), encapsulation, outer);
        tunnelled.extend(&padding);
        prop_assert_eq!(find(tunnelled.as_slice()).unwrap().unwrap().source(), ends(outer).source);
        let fate = match encapsulation {
            Encapsulation::Ipip => Fate::Ipip,
            Encapsulation::Gue => Fate::Gue,
        };
        prop_assert_eq!(unwrapped(tunnelled), Ok(Some((fate, [frame, padding].concat()))));
    }

    #[test]
    fn what_is_in_no_tunnel_is_left_alone(sample in samples()) {
        prop_assume!(sample.destination.port() != 6080);
        prop_assert_eq!(unwrapped(sample.frame()), Ok(None));
    }

    #[test]
    fn whatever_comes_does_not_panic(mut frame: Vec<u8>, cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let _anything: Result<Option<(Fate, Vec<u8>)>, Fate> = unwrapped(frame.clone());
        for (_, _, _, whole) in tunnels() {
            frame = whole;
            let position = at.index(frame.len());
            frame[position] = byte;
            frame.truncate(cut.index(frame.len() + 1));
            let _anything: Result<Option<(Fate, Vec<u8>)>, Fate> = unwrapped(frame.clone());
        }
    }
}

#[test]
fn congestion_in_the_tunnel_reaches_the_receiver() {
    for (sample, encapsulation, outer, frame) in tunnels() {
        for inner_class in 0..=u8::MAX {
            for outer_class in [0xfc, 0xfd, 0xfe, 0xff] {
                let case = format!("{encapsulation:?} over {outer:?}, {inner_class:#x} in {outer_class:#x}");
                let mut frame = frame.clone();
                let overhead = encapsulation.overhead(outer) as usize;
                set_traffic_class(&mut frame[14 + overhead..], sample.family(), inner_class);
                set_traffic_class(&mut frame[14..], outer, outer_class);
                match (unwrapped(frame), ecn::out_of_tunnel(inner_class, outer_class)) {
                    (Ok(Some((_, frame))), Some(ecn)) => {
                        let mut expected = sample.frame();
                        set_traffic_class(&mut expected[14..], sample.family(), inner_class & 0xfc | ecn);
                        assert_eq!(frame, expected, "{case}");
                    }
                    (Err(Fate::Congestion), None) => {}
                    (outcome, _) => panic!("{case}: {outcome:?}"),
                }
            }
        }
    }
}

fn set_traffic_class(packet: &mut [u8], family: Family, traffic_class: u8) {
    match family {
        Family::V4 => {
            packet[1] = traffic_class;
            let header = Ipv4Header::from_slice(packet).unwrap().0;
            packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        Family::V6 => {
            packet[0] = 0x60 | traffic_class >> 4;
            packet[1] = packet[1] & 0xf | traffic_class << 4;
        }
    }
}

/// Something that makes a packet in a tunnel unacceptable, given the offsets of its UDP header, if it has one, and of the
/// IP header inside.
type Damage = fn(frame: &mut Vec<u8>, udp: usize, inner: usize);

#[track_caller]
fn assert_refused(case: &str, fate: Fate, applies: impl Fn(Encapsulation, Family, Family) -> bool, damage: Damage) {
    let mut cases = 0;
    for (sample, encapsulation, outer, frame) in tunnels() {
        if applies(encapsulation, outer, sample.family()) {
            let udp = 14 + if outer == Family::V4 { 20 } else { 40 };
            let inner = 14 + encapsulation.overhead(outer) as usize;
            let mut frame = frame;
            damage(&mut frame, udp, inner);
            assert_eq!(unwrapped(frame), Err(fate), "{case}: {encapsulation:?} over {outer:?}");
            cases += 1;
        }
    }
    assert!(cases > 0, "{case}");
}

#[test]
fn contradicting_outer_headers_are_refused() {
    let any = |_, _, _| true;
    assert_refused("cut off", Fate::MalformedOuter, any, |frame, _, _| {
        frame.pop();
    });
    let over_ipv4 = |_, outer, _| outer == Family::V4;
    assert_refused("a wrong checksum", Fate::MalformedOuter, over_ipv4, |frame, _, _| {
        frame[14 + 8] += 1;
    });
    assert_refused(
        "shorter than its header",
        Fate::MalformedOuter,
        over_ipv4,
        |frame, _, _| {
            set_length(frame, 19);
        },
    );
    let gue = |encapsulation, _, _| encapsulation == Encapsulation::Gue;
    assert_refused(
        "a datagram behind the end",
        Fate::MalformedOuter,
        gue,
        |frame, udp, _| {
            frame[udp + 5] += 1;
        },
    );
    assert_refused(
        "a datagram without a header",
        Fate::MalformedOuter,
        gue,
        |frame, udp, _| {
            frame[udp + 4..udp + 6].copy_from_slice(&11_u16.to_be_bytes());
        },
    );
}

/// Sets the length of an outer IPv4 packet.
fn set_length(frame: &mut [u8], length: u16) {
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    let header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}

#[test]
fn fragments_are_refused() {
    for bits in [[0x20, 0], [0x00, 1], [0x20, 1]] {
        for (_, encapsulation, outer, mut frame) in tunnels() {
            if outer == Family::V4 {
                frame[20..22].copy_from_slice(&bits);
                set_traffic_class(&mut frame[14..], outer, 0);
                // A fragment without ports could be of any datagram.
                let is_known = encapsulation == Encapsulation::Ipip || bits[1] == 0;
                let expected = if is_known { Err(Fate::Fragment) } else { Ok(None) };
                assert_eq!(unwrapped(frame), expected, "{encapsulation:?}, {bits:?}");
            }
        }
    }
}

#[test]
fn gue_headers_of_other_kinds_are_refused() {
    let gue = |encapsulation, _, _| encapsulation == Encapsulation::Gue;
    let cases: [(&str, Damage); 6] = [
        ("version 1", |frame, udp, _| frame[udp + 8] = 0x40),
        ("a control message", |frame, udp, _| frame[udp + 8] = 0x20),
        ("extensions", |frame, udp, _| frame[udp + 8] = 1),
        ("a flag", |frame, udp, _| frame[udp + 10] = 0x80),
        ("another flag", |frame, udp, _| frame[udp + 11] = 1),
        ("a TCP segment", |frame, udp, _| frame[udp + 9] = 6),
    ];
    for (case, damage) in cases {
        assert_refused(case, Fate::UnknownGue, gue, damage);
    }
}

#[test]
fn what_is_no_packet_inside_is_refused() {
    let any = |_, _, _| true;
    assert_refused("another version", Fate::MalformedInner, any, |frame, _, inner| {
        frame[inner] ^= 0x20;
    });
    let v4 = |_, _, inner| inner == Family::V4;
    assert_refused(
        "longer than its carrier",
        Fate::MalformedInner,
        v4,
        |frame, _, inner| {
            frame[inner + 3] += 1;
        },
    );
    assert_refused(
        "shorter than its header",
        Fate::MalformedInner,
        v4,
        |frame, _, inner| {
            frame[inner + 3] = 19;
        },
    );
    assert_refused(
        "a header below the least",
        Fate::MalformedInner,
        v4,
        |frame, _, inner| {
            frame[inner] = 0x44;
        },
    );
    let v6 = |_, _, inner| inner == Family::V6;
    assert_refused(
        "longer than its carrier",
        Fate::MalformedInner,
        v6,
        |frame, _, inner| {
            frame[inner + 5] += 1;
        },
    );
    // Ends frame and outer packet within the header inside.
    let over_ipv4_in_ip = |encapsulation, outer, _| encapsulation == Encapsulation::Ipip && outer == Family::V4;
    assert_refused("cut off", Fate::MalformedInner, over_ipv4_in_ip, |frame, _, inner| {
        frame.truncate(inner + 19);
        set_length(frame, 39);
    });
}

#[test]
fn headers_that_are_the_hosts_business_are_left_alone() {
    for (sample, encapsulation, outer, frame) in tunnels() {
        let mut other_host_group = frame.clone();
        other_host_group[0] |= 1;
        assert_eq!(unwrapped(other_host_group), Ok(None));
        let mut version = frame.clone();
        version[14] ^= 0x10;
        assert_eq!(unwrapped(version), Ok(None));
        let protocol = 14 + if outer == Family::V4 { 9 } else { 6 };
        let mut other_protocol = frame.clone();
        other_protocol[protocol] = 47;
        assert_eq!(unwrapped(other_protocol), Ok(None), "{encapsulation:?}");
        if encapsulation == Encapsulation::Gue {
            let port = 14 + encapsulation.overhead(outer) as usize - Gue::LEN - 5;
            let mut other_port = frame.clone();
            other_port[port] += 1;
            assert_eq!(unwrapped(other_port), Ok(None), "{:?}", sample.family());
        }
    }
    let options = Sample {
        ipv4_options: vec![1; 4],
        ..Sample::new(Family::V4, ip_number::TCP)
    };
    let mut frame = options.frame();
    frame[14 + 9] = 4;
    assert_eq!(unwrapped(frame), Ok(None));
}

#[test]
fn nested_tunnels_come_out_one_by_one() {
    let sample = Sample::new(Family::V4, ip_number::TCP);
    let frame = sample.frame();
    let once = wrapped(&frame, &sample.headers(), Encapsulation::Gue, Family::V6);
    let twice = wrapped(&once, &parse(once.as_slice()).unwrap(), Encapsulation::Gue, Family::V6);
    let (_, out) = unwrapped(twice).unwrap().unwrap();
    assert_eq!(out, once);
    assert_eq!(unwrapped(out).unwrap().unwrap().1, frame);
}

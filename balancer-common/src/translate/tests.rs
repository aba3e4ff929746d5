use core::net::{IpAddr, SocketAddr};

use etherparse::{IpDscp, IpEcn, Ipv4Header, Ipv6FlowLabel, Ipv6Header, ip_number};
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::packet::{
    Wire, parse,
    samples::{Extension, Sample, checksums_are_right, samples},
};

/// A frame with room in front of it.
#[derive(Clone, Debug)]
struct Frame {
    bytes: Vec<u8>,
    headroom: usize,
}

impl Frame {
    /// The bytes, with the MACs that samples have.
    fn addressed(mut self) -> Vec<u8> {
        let macs = &Sample::plain()[0].frame()[..12];
        self.bytes[..12].copy_from_slice(macs);
        self.bytes
    }

    fn of(sample: &Sample) -> Self {
        Self {
            bytes: sample.frame(),
            headroom: 256,
        }
    }
}

impl Packet for Frame {
    fn has(&self, length: usize) -> bool {
        self.bytes.as_slice().has(length)
    }

    fn surely_has(&self, length: usize) -> bool {
        self.has(length)
    }

    fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        self.bytes.as_slice().view(offset)
    }

    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        self.bytes.as_mut_slice().view_mut(offset)
    }
}

impl Resize for Frame {
    fn grow_front(&mut self, bytes: i32) -> Option<()> {
        let count = bytes.unsigned_abs() as usize;
        if bytes < 0 {
            self.bytes.drain(..count);
        } else if count <= self.headroom {
            self.bytes.splice(..0, vec![0xee; count]);
        } else {
            return None;
        }
        Some(())
    }
}

fn ends(source: SocketAddr, destination: SocketAddr) -> Ends {
    Ends {
        source: source.ip().into(),
        destination: destination.ip().into(),
        ports: Ports {
            source: source.port().to_be_bytes(),
            destination: destination.port().to_be_bytes(),
        },
    }
}

/// The frame of `sample` with other ends.
fn translated(sample: &Sample, source: SocketAddr, destination: SocketAddr) -> Result<Vec<u8>, DropReason> {
    let mut frame = Frame::of(sample);
    let headers = parse(&frame).unwrap();
    translate(&mut frame, &headers, &ends(source, destination)).map(|()| frame.addressed())
}

/// The frame that would be built anew with the ends `source` and `destination`.
fn expected(sample: &Sample, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let new = Sample {
        source,
        destination,
        ttl: sample.ttl - 1,
        ..sample.clone()
    };
    let mut frame = new.frame();
    if sample.family() == Family::V6 && new.family() == Family::V4 {
        let checksum = sample.transport() + if sample.protocol == ip_number::TCP { 16 } else { 6 };
        let old = sample.frame();
        let length = frame.len() - new.network();
        change_ipv4(&mut frame, new.network(), |header| {
            header.dont_fragment = length > 1_260;
            header.identification = if header.dont_fragment {
                0
            } else {
                u16::from_be_bytes([old[checksum], old[checksum + 1]])
            };
        });
    }
    frame
}

fn change_ipv4(frame: &mut [u8], network: usize, change: impl FnOnce(&mut Ipv4Header)) {
    let (mut header, _) = Ipv4Header::from_slice(&frame[network..]).unwrap();
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    frame[network..network + header.header_len()].copy_from_slice(&header.to_bytes());
}

fn change_ipv6(frame: &mut [u8], network: usize, change: impl FnOnce(&mut Ipv6Header)) {
    let (mut header, _) = Ipv6Header::from_slice(&frame[network..]).unwrap();
    change(&mut header);
    frame[network..network + Ipv6Header::LEN].copy_from_slice(&header.to_bytes());
}

/// Two ends of the IP version `family` that hosts can have.
fn pair(family: Family, octets: [[u8; 16]; 2], ports: [u16; 2]) -> (SocketAddr, SocketAddr) {
    let [one, two] = octets.map(|octets| match family {
        Family::V4 => IpAddr::from([octets[0] % 126 + 1, octets[1], octets[2], octets[3]]),
        Family::V6 => {
            let mut octets = octets;
            octets[0] = 0x20 | octets[0] & 0x1f;
            IpAddr::from(octets)
        }
    });
    (SocketAddr::new(one, ports[0]), SocketAddr::new(two, ports[1]))
}

const fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

prop_compose! {
    /// A packet that may be forwarded and other ends of its IP version.
    fn replacements()(
        mut sample in samples(),
        octets in any::<[[u8; 16]; 2]>(),
        ports in any::<[u16; 2]>(),
    ) -> (Sample, SocketAddr, SocketAddr) {
        sample.ttl = sample.ttl.max(2);
        let (source, destination) = pair(sample.family(), octets, ports);
        (sample, source, destination)
    }
}

prop_compose! {
    /// A packet that may cross to the other IP version, with ends of that one.
    fn crossings()(
        mut sample in samples(),
        size in prop_oneof![0..64_usize, 1_180..1_300_usize],
        octets in any::<[[u8; 16]; 2]>(),
        ports in any::<[u16; 2]>(),
    ) -> (Sample, SocketAddr, SocketAddr) {
        sample.ttl = sample.ttl.max(2);
        sample.checksummed |= sample.family() == Family::V4;
        sample.ipv4_options.clear();
        sample.extensions.clear();
        sample.payload.resize(size, 0xa5);
        let (source, destination) = pair(other(sample.family()), octets, ports);
        (sample, source, destination)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn a_packet_with_other_ends_is_the_one_that_would_be_built_anew((sample, source, destination) in replacements()) {
        let frame = translated(&sample, source, destination).unwrap();
        prop_assert!(checksums_are_right(&frame));
        prop_assert_eq!(frame, expected(&sample, source, destination));
    }

    #[test]
    fn so_is_one_of_the_other_ip_version((sample, source, destination) in crossings()) {
        let frame = translated(&sample, source, destination).unwrap();
        prop_assert!(checksums_are_right(&frame));
        prop_assert_eq!(parse(frame.as_slice()).unwrap().length, length(&sample.headers(), other(sample.family())));
        prop_assert_eq!(frame, expected(&sample, source, destination));
    }

    #[test]
    fn a_packet_that_crosses_twice_is_the_same_again((mut sample, source, destination) in crossings()) {
        sample.ttl = sample.ttl.max(3);
        let once = translated(&sample, source, destination).unwrap();
        let mut frame = Frame { bytes: once, headroom: 256 };
        let headers = parse(&frame).unwrap();
        // UDP without a checksum can be IPv6 only here, and comes to a halt on its way back.
        let back = translate(&mut frame, &headers, &ends(sample.source, sample.destination));
        if !sample.checksummed && sample.protocol == ip_number::UDP {
            prop_assert_eq!(back, Err(DropReason::Untranslatable));
        } else {
            prop_assert_eq!(back, Ok(()));
            let mut twice = expected(&Sample { ttl: sample.ttl - 1, ..sample.clone() }, sample.source, sample.destination);
            if sample.family() == Family::V4 {
                let identification = frame.bytes[sample.network() + 4..][..4].to_vec();
                change_ipv4(&mut twice, sample.network(), |header| {
                    header.identification = u16::from_be_bytes([identification[0], identification[1]]);
                    header.dont_fragment = identification[2] & 0x40 != 0;
                });
            }
            prop_assert_eq!(frame.addressed(), twice);
        }
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_across((mut sample, source, destination) in crossings(), error in 1..u16::MAX) {
        sample.checksummed = true;
        let mut frame = Frame::of(&sample);
        let field = sample.transport() + if sample.protocol == ip_number::TCP { 16 } else { 6 };
        let right = u16::from_be_bytes([frame.bytes[field], frame.bytes[field + 1]]);
        let wrong = (u32::from(right) + u32::from(error) + 0xfffe) % 0xffff + 1;
        frame.bytes[field..field + 2].copy_from_slice(&(wrong as u16).to_be_bytes());
        translate(&mut frame, &sample.headers(), &ends(source, destination)).unwrap();
        prop_assert!(!checksums_are_right(&frame.bytes));
    }

    #[test]
    fn the_traffic_class_goes_along_and_the_flow_label_does_not(
        (sample, source, destination) in crossings(),
        class in any::<u8>(),
        label in 0..1_u32 << 20,
    ) {
        let (dscp, ecn) = (IpDscp::try_new(class >> 2).unwrap(), IpEcn::try_new(class & 3).unwrap());
        let mut frame = Frame::of(&sample);
        let mut expected = expected(&sample, source, destination);
        let network = sample.network();
        match sample.family() {
            Family::V4 => {
                change_ipv4(&mut frame.bytes, network, |header| (header.dscp, header.ecn) = (dscp, ecn));
                change_ipv6(&mut expected, network, |header| header.traffic_class = class);
            }
            Family::V6 => {
                change_ipv6(&mut frame.bytes, network, |header| {
                    header.traffic_class = class;
                    header.flow_label = Ipv6FlowLabel::try_new(label).unwrap();
                });
                change_ipv4(&mut expected, network, |header| (header.dscp, header.ecn) = (dscp, ecn));
            }
        }
        let headers = parse(&frame).unwrap();
        translate(&mut frame, &headers, &ends(source, destination)).unwrap();
        prop_assert_eq!(frame.addressed(), expected);
    }

    #[test]
    fn a_packet_that_lost_its_headers_is_refused_and_never_panics(
        (sample, source, destination) in prop_oneof![replacements(), crossings()],
        cut in any::<Index>(),
        network in any::<u16>(),
        transport in any::<u16>(),
    ) {
        let headers = sample.headers();
        let mut frame = Frame::of(&sample);
        let header_len = if sample.protocol == ip_number::TCP { 20 } else { 8 };
        frame.bytes.truncate(cut.index(sample.transport() + header_len));
        prop_assert!(translate(&mut frame, &headers, &ends(source, destination)).is_err());
        let elsewhere = Headers { network, transport, ..headers };
        // Whatever comes of it.
        let _done = translate(&mut Frame::of(&sample), &elsewhere, &ends(source, destination));
    }
}

#[test]
fn what_the_other_ip_version_has_no_place_for_stays_out() {
    let v4: SocketAddr = "10.2.0.1:1024".parse().unwrap();
    let v6: SocketAddr = "[fd00:2::1]:1024".parse().unwrap();
    for protocol in [ip_number::TCP, ip_number::UDP] {
        let optioned = Sample {
            ipv4_options: vec![1; 4],
            ..Sample::new(Family::V4, protocol)
        };
        assert_eq!(translated(&optioned, v6, v6), Err(DropReason::Untranslatable));
        let extended = Sample::extended(protocol, [Extension::ATOMIC_FRAGMENT]);
        assert_eq!(translated(&extended, v4, v4), Err(DropReason::Untranslatable));
    }
    let unchecked = |family| Sample {
        checksummed: false,
        ..Sample::new(family, ip_number::UDP)
    };
    assert_eq!(
        translated(&unchecked(Family::V4), v6, v6),
        Err(DropReason::Untranslatable)
    );
    let sample = unchecked(Family::V6);
    assert_eq!(translated(&sample, v4, v4), Ok(expected(&sample, v4, v4)));
}

#[test]
fn a_packet_that_ipv4_cannot_measure_is_too_big() {
    let v4: SocketAddr = "10.2.0.1:1024".parse().unwrap();
    let mut sample = Sample::new(Family::V6, ip_number::TCP);
    for (payload, expected) in [(65_535 - 40, Ok(())), (65_536 - 40, Err(DropReason::TooBig))] {
        // Both headers are in the length: 40 and 20 bytes there, 20 and 20 here.
        sample.payload = vec![0; payload.min(65_515)];
        let mut frame = Frame::of(&sample);
        let headers = Headers {
            length: u32::try_from(payload).unwrap() + 60,
            ..sample.headers()
        };
        assert_eq!(translate(&mut frame, &headers, &ends(v4, v4)), expected, "{payload}");
    }
}

#[test]
fn without_room_in_front_of_it_a_packet_does_not_become_longer() {
    let v6: SocketAddr = "[fd00:2::1]:1024".parse().unwrap();
    let sample = Sample::new(Family::V4, ip_number::TCP);
    for (headroom, expected) in [(19, Err(DropReason::NoHeadroom)), (20, Ok(()))] {
        let mut frame = Frame {
            headroom,
            ..Frame::of(&sample)
        };
        assert_eq!(
            translate(&mut frame, &sample.headers(), &ends(v6, v6)),
            expected,
            "{headroom}"
        );
    }
}

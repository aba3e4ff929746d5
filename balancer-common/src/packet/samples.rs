//! Packets for the tests, built and checked by `etherparse`, so that the code under test never checks itself.

use core::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpAuthHeader, IpFragOffset,
    IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, NetSlice, SingleVlanHeader,
    SlicedPacket, TcpHeader, TransportSlice, UdpHeader, VlanId, ether_type, ip_number,
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
};

use super::{Family, Fragment, Headers, Ports};
use crate::affinity::tcp;

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub(crate) enum Extension {
    /// So many units of eight bytes behind the first eight.
    HopByHop(u8),
    /// So many units of eight bytes behind the first eight.
    Destination(u8),
    Routing {
        segments_left: u8,
        /// So many units of eight bytes behind the first eight.
        units: u8,
    },
    Fragment {
        /// In units of eight bytes.
        offset: u16,
        more: bool,
    },
    /// So many words of four bytes in the integrity check value.
    Authentication(u8),
}

impl Extension {
    /// A whole packet in the guise of a fragment (RFC 6946).
    pub(crate) const ATOMIC_FRAGMENT: Self = Self::Fragment { offset: 0, more: false };

    pub(crate) fn number(&self) -> IpNumber {
        match self {
            Self::HopByHop(_) => ip_number::IPV6_HOP_BY_HOP,
            Self::Destination(_) => ip_number::IPV6_DEST_OPTIONS,
            Self::Routing { .. } => ip_number::IPV6_ROUTE,
            Self::Fragment { .. } => ip_number::IPV6_FRAG,
            Self::Authentication(_) => ip_number::AUTH,
        }
    }

    /// The header, followed by one of the kind `next`.
    pub(crate) fn bytes(&self, next: IpNumber) -> Vec<u8> {
        let raw = |begin: [u8; 2], units: u8| {
            let mut payload = vec![0xa5; 6 + usize::from(units) * 8];
            payload[..2].copy_from_slice(&begin);
            Ipv6RawExtHeader::new_raw(next, &payload).unwrap().to_bytes().to_vec()
        };
        match *self {
            // One option of padding over the first six bytes.
            Self::HopByHop(units) | Self::Destination(units) => raw([1, 4], units),
            Self::Routing { segments_left, units } => raw([253, segments_left], units),
            Self::Fragment { offset, more } => {
                let offset = IpFragOffset::try_new(offset).unwrap();
                Ipv6FragmentHeader::new(next, offset, more, 0x1234_5678)
                    .to_bytes()
                    .to_vec()
            }
            Self::Authentication(words) => {
                let check = vec![0xa5; usize::from(words) * 4];
                IpAuthHeader::new(next, 7, 8, &check).unwrap().to_bytes().to_vec()
            }
        }
    }
}

/// What a packet is built from.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Ethernet types of the VLAN tags, outermost first.
    pub(crate) tags: Vec<EtherType>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: IpNumber,
    pub(crate) ttl: u8,
    /// A multiple of four bytes, at most 40.
    pub(crate) ipv4_options: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    /// A multiple of four bytes, at most 40.
    pub(crate) tcp_options: Vec<u8>,
    /// Whether a UDP datagram carries a checksum.
    pub(crate) checksummed: bool,
    /// What TCP or UDP carries, or an ICMP message without its checksum.
    pub(crate) payload: Vec<u8>,
}

impl Sample {
    /// A plain packet between two documentation addresses.
    pub(crate) fn new(family: Family, protocol: IpNumber) -> Self {
        let [source, destination] = match family {
            Family::V4 => ["198.51.100.7:40000", "192.0.2.10:443"],
            Family::V6 => ["[2001:db8:1::7]:40000", "[2001:db8::10]:443"],
        };
        Self {
            tags: Vec::new(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            ttl: 64,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            tcp_options: Vec::new(),
            checksummed: true,
            payload: b"affinity".to_vec(),
        }
    }

    /// One of each family and protocol.
    pub(crate) fn plain() -> [Self; 4] {
        [
            Self::new(Family::V4, ip_number::TCP),
            Self::new(Family::V4, ip_number::UDP),
            Self::new(Family::V6, ip_number::TCP),
            Self::new(Family::V6, ip_number::UDP),
        ]
    }

    /// A message of this type and code, with the last four bytes of its header and what follows, between two documentation
    /// addresses.
    pub(crate) fn message(family: Family, kind: [u8; 2], rest: [u8; 4], content: &[u8]) -> Self {
        let protocol = match family {
            Family::V4 => ip_number::ICMP,
            Family::V6 => ip_number::IPV6_ICMP,
        };
        Self {
            payload: [&kind, rest.as_slice(), content].concat(),
            ..Self::new(family, protocol)
        }
    }

    /// A plain packet behind these extension headers.
    pub(crate) fn extended(protocol: IpNumber, extensions: impl Into<Vec<Extension>>) -> Self {
        Self {
            extensions: extensions.into(),
            ..Self::new(Family::V6, protocol)
        }
    }

    pub(crate) fn family(&self) -> Family {
        if self.destination.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// Offset of the IP header.
    pub(crate) fn network(&self) -> usize {
        Ethernet2Header::LEN + self.tags.len() * SingleVlanHeader::LEN
    }

    /// Offset of the TCP or UDP header.
    pub(crate) fn transport(&self) -> usize {
        self.network()
            + match self.family() {
                Family::V4 => Ipv4Header::MIN_LEN + self.ipv4_options.len(),
                Family::V6 => Ipv6Header::LEN + self.chain().1.len(),
            }
    }

    /// The frame, without padding.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.link();
        frame.extend(match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source.octets(), destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source.octets(), destination.octets()),
            _ => panic!("the two ends are of different families"),
        });
        frame
    }

    /// What the parser has to make of the frame.
    pub(crate) fn headers(&self) -> Headers {
        let ports = match self.protocol {
            ip_number::ICMP | ip_number::IPV6_ICMP => Ports::NONE,
            _ => Ports {
                source: self.source.port().to_be_bytes(),
                destination: self.destination.port().to_be_bytes(),
            },
        };
        Headers {
            source: self.source.ip().into(),
            destination: self.destination.ip().into(),
            ports,
            length: u32::try_from(self.frame().len() - self.network()).unwrap(),
            fragment: Fragment::NONE,
            network: u16::try_from(self.network()).unwrap(),
            transport: u16::try_from(self.transport()).unwrap(),
            family: self.family(),
            protocol: self.protocol.0,
            ttl: self.ttl,
            tcp_flags: if self.protocol == ip_number::TCP { tcp::SYN } else { 0 },
        }
    }

    fn link(&self) -> Vec<u8> {
        let network = match self.family() {
            Family::V4 => ether_type::IPV4,
            Family::V6 => ether_type::IPV6,
        };
        let mut ether_types = self.tags.iter().copied().chain([network]);
        let mut bytes = Ethernet2Header {
            destination: [0x02, 0, 0, 0, 0, 1],
            source: [0x02, 0, 0, 0, 0, 2],
            ether_type: ether_types.next().unwrap(),
        }
        .to_bytes()
        .to_vec();
        for ether_type in ether_types {
            let tag = SingleVlanHeader {
                vlan_id: VlanId::try_new(0xabc).unwrap(),
                ether_type,
                ..SingleVlanHeader::default()
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let transport = match self.protocol {
            ip_number::UDP => {
                let (from, to) = (self.source.port(), self.destination.port());
                let header =
                    UdpHeader::with_ipv4_checksum(from, to, &self.addressed(source, destination), &self.payload);
                self.udp(header.unwrap())
            }
            ip_number::ICMP => {
                let &[type_u8, code_u8, a, b, c, d, ref content @ ..] = self.payload.as_slice() else {
                    panic!("a message has a header");
                };
                let bytes5to8 = [a, b, c, d];
                let kind = Icmpv4Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                [&Icmpv4Header::with_checksum(kind, content).to_bytes(), content].concat()
            }
            _ => self.tcp(|header| {
                header
                    .calc_checksum_ipv4_raw(source, destination, &self.payload)
                    .unwrap()
            }),
        };
        let mut header = self.addressed(source, destination);
        header.options = Ipv4Options::try_from(self.ipv4_options.as_slice()).unwrap();
        header.set_payload_len(transport.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), transport].concat()
    }

    fn addressed(&self, source: [u8; 4], destination: [u8; 4]) -> Ipv4Header {
        Ipv4Header::new(0, self.ttl, self.protocol, source, destination).unwrap()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let (next_header, extensions) = self.chain();
        let mut header = Ipv6Header {
            next_header,
            hop_limit: self.ttl,
            source,
            destination,
            ..Ipv6Header::default()
        };
        let transport = match self.protocol {
            ip_number::UDP => {
                let (from, to) = (self.source.port(), self.destination.port());
                self.udp(UdpHeader::with_ipv6_checksum(from, to, &header, &self.payload).unwrap())
            }
            ip_number::IPV6_ICMP => {
                let &[type_u8, code_u8, a, b, c, d, ref content @ ..] = self.payload.as_slice() else {
                    panic!("a message has a header");
                };
                let bytes5to8 = [a, b, c, d];
                let kind = Icmpv6Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                let header = Icmpv6Header::with_checksum(kind, source, destination, content).unwrap();
                [&header.to_bytes(), content].concat()
            }
            _ => self.tcp(|tcp| tcp.calc_checksum_ipv6_raw(source, destination, &self.payload).unwrap()),
        };
        header.set_payload_length(extensions.len() + transport.len()).unwrap();
        [header.to_bytes().to_vec(), extensions, transport].concat()
    }

    /// The number of the first extension header, or of the transport protocol, and the bytes of all of them.
    fn chain(&self) -> (IpNumber, Vec<u8>) {
        self.extensions
            .iter()
            .rev()
            .fold((self.protocol, Vec::new()), |(next, rest), extension| {
                (extension.number(), [extension.bytes(next), rest].concat())
            })
    }

    fn tcp(&self, checksum: impl Fn(&TcpHeader) -> u16) -> Vec<u8> {
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), 0x0102_0304, 0xfaf0);
        header.syn = true;
        header.set_options_raw(&self.tcp_options).unwrap();
        header.checksum = checksum(&header);
        [&header.to_bytes(), self.payload.as_slice()].concat()
    }

    fn udp(&self, mut header: UdpHeader) -> Vec<u8> {
        if !self.checksummed {
            header.checksum = 0;
        }
        [&header.to_bytes(), self.payload.as_slice()].concat()
    }
}

/// Whether each checksum of a packet is right, or a UDP one left out.
pub(crate) fn checksums_are_right(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let transport = packet.transport.unwrap();
    match packet.net.unwrap() {
        NetSlice::Ipv4(slice) => {
            let ip = slice.header().to_header();
            ip.header_checksum == ip.calc_header_checksum()
                && match transport {
                    TransportSlice::Tcp(tcp) => {
                        tcp.checksum() == tcp.calc_checksum_ipv4(ip.source, ip.destination).unwrap()
                    }
                    TransportSlice::Udp(udp) => {
                        let header = udp.to_header();
                        header.checksum == 0
                            || header.checksum == header.calc_checksum_ipv4(&ip, udp.payload()).unwrap()
                    }
                    TransportSlice::Icmpv4(icmp) => {
                        let header = icmp.header();
                        header.checksum == header.icmp_type.calc_checksum(icmp.payload())
                    }
                    other => panic!("{other:?}"),
                }
        }
        NetSlice::Ipv6(slice) => {
            let ip = slice.header().to_header();
            match transport {
                TransportSlice::Tcp(tcp) => {
                    tcp.checksum() == tcp.calc_checksum_ipv6(ip.source, ip.destination).unwrap()
                }
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    header.checksum == 0 || header.checksum == header.calc_checksum_ipv6(&ip, udp.payload()).unwrap()
                }
                TransportSlice::Icmpv6(icmp) => icmp.is_checksum_valid(ip.source, ip.destination),
                other => panic!("{other:?}"),
            }
        }
        other @ NetSlice::Arp(_) => panic!("{other:?}"),
    }
}

/// Packets of every kind that the parser has to accept.
pub(crate) fn samples() -> impl Strategy<Value = Sample> {
    let rest = (
        vec(
            prop_oneof![Just(ether_type::VLAN_TAGGED_FRAME), Just(ether_type::PROVIDER_BRIDGING)],
            0..=2,
        ),
        prop_oneof![Just(ip_number::TCP), Just(ip_number::UDP)],
        any::<u8>(),
        any::<bool>(),
        (words(), words(), extensions()),
        vec(any::<u8>(), 0..64),
    );
    (ends(), rest).prop_map(
        |(
            (source, destination),
            (tags, protocol, ttl, checksummed, (ipv4_options, tcp_options, extensions), payload),
        )| {
            Sample {
                tags,
                source,
                destination,
                protocol,
                ttl,
                ipv4_options,
                extensions,
                tcp_options,
                checksummed,
                payload,
            }
        },
    )
}

/// Any two addresses of one family, each with any port, the first of which other hosts can send from.
fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>(), any::<[u8; 4]>(), any::<u16>()).prop_map(
            |(mut from, from_port, to, to_port)| {
                from[0] = from[0] % 126 + 1;
                ((from, from_port).into(), (to, to_port).into())
            }
        ),
        (any::<[u8; 16]>(), any::<u16>(), any::<[u8; 16]>(), any::<u16>()).prop_map(
            |(mut from, from_port, mut to, to_port)| {
                // Global unicast (RFC 4291, 2.4).
                from[0] = 0x20 | from[0] & 0x1f;
                to[0] = 0x20 | to[0] & 0x1f;
                ((from, from_port).into(), (to, to_port).into())
            }
        ),
    ]
}

/// Options of IPv4 or TCP: up to ten words.
fn words() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat())
}

fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    let anywhere = prop_oneof![
        (0..4_u8).prop_map(Extension::Destination),
        (0..4_u8).prop_map(|units| Extension::Routing {
            segments_left: 0,
            units
        }),
        Just(Extension::ATOMIC_FRAGMENT),
        (0..8_u8).prop_map(Extension::Authentication),
    ];
    let first = proptest::option::of((0..4_u8).prop_map(Extension::HopByHop));
    (first, vec(anywhere, 0..=5)).prop_map(|(first, rest)| first.into_iter().chain(rest).collect())
}

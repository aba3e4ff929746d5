//! Packets from scratch.

use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::{Mac, NextHop};
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpEcn, IpFragOffset,
    IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
    VlanPcp, ether_type, ip_number,
};

use super::Extension;

/// The address in a text like `192.0.2.1:80` or `[2001:db8::1]:80`.
///
/// # Panics
///
/// If it is none.
pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What is above IP. Ports and checksums are filled in.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A TCP segment with this header.
    Tcp(Box<TcpHeader>),
    /// A UDP datagram with a checksum.
    Udp,
    /// A UDP datagram without one (RFC 768).
    UncheckedUdp,
    /// An ICMP message, or in IPv6 an ICMPv6 one: type and code, and the last four bytes of its header.
    Message([u8; 2], [u8; 4]),
}

impl Transport {
    /// The first segment of a connection, with the options that hosts send.
    pub fn syn() -> Self {
        let mut header = TcpHeader { syn: true, ..segment() };
        header
            .set_options_raw(&[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 0])
            .expect("the options are whole words");
        Self::Tcp(Box::new(header))
    }

    /// The answer to the first segment.
    pub fn syn_ack() -> Self {
        Self::Tcp(Box::new(TcpHeader {
            syn: true,
            ack: true,
            ..segment()
        }))
    }

    /// A segment of a connection that stands.
    pub fn ack() -> Self {
        Self::Tcp(Box::new(TcpHeader { ack: true, ..segment() }))
    }

    /// The last segment of one side.
    pub fn fin() -> Self {
        Self::Tcp(Box::new(TcpHeader {
            fin: true,
            ack: true,
            ..segment()
        }))
    }

    /// The end of a connection.
    pub fn rst() -> Self {
        Self::Tcp(Box::new(TcpHeader { rst: true, ..segment() }))
    }

    /// The number of TCP or UDP.
    ///
    /// # Panics
    ///
    /// If it is neither.
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => ip_number::TCP.0,
            Self::Udp | Self::UncheckedUdp => ip_number::UDP.0,
            Self::Message(..) => panic!("the protocol of a message depends on the version of IP"),
        }
    }
}

fn segment() -> TcpHeader {
    TcpHeader {
        acknowledgment_number: 0x1122_3344,
        ..TcpHeader::new(0, 0, 0x0102_0304, 0xfaf0)
    }
}

/// What a packet is built from.
#[derive(Clone, Debug)]
pub struct Packet {
    /// MAC of the receiver.
    pub to: Mac,
    /// MAC of the sender.
    pub from: Mac,
    /// Ethernet types and numbers of VLANs, outermost first.
    pub vlans: Vec<(EtherType, u16)>,
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// Type of service or traffic class: DSCP (6 bits) and ECN (2).
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whole words of four bytes, at most ten.
    pub ipv4_options: Vec<u8>,
    /// Fragment offset in units of eight bytes and whether more fragments follow, in IPv4.
    pub ipv4_fragment: (u16, bool),
    /// In their order.
    pub extensions: Vec<Extension>,
    /// What is above IP.
    pub transport: Transport,
    /// What the transport carries.
    pub payload: Vec<u8>,
    /// Bytes behind the IP packet, as in an Ethernet frame that would otherwise be too short.
    pub padding: Vec<u8>,
}

impl Packet {
    /// A packet between two addresses of one family, with nothing that could be left out.
    pub fn new(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            to: [2, 0, 0, 0, 0xaa, 1],
            from: [2, 0, 0, 0, 0xaa, 2],
            vlans: Vec::new(),
            source,
            destination,
            traffic_class: if source.is_ipv4() { 0x29 } else { 0x2b },
            ttl: 64,
            ipv4_options: Vec::new(),
            ipv4_fragment: (0, false),
            extensions: Vec::new(),
            transport,
            payload: b"affinity".to_vec(),
            padding: Vec::new(),
        }
    }

    /// This packet as a backend has to get it.
    #[must_use]
    pub fn forwarded(&self, next_hop: NextHop, backend: SocketAddr) -> Self {
        Self {
            destination: backend,
            ..self.routed(next_hop)
        }
    }

    /// This packet as a client has to get it.
    #[must_use]
    pub fn returned(&self, next_hop: NextHop, service: SocketAddr) -> Self {
        Self {
            source: service,
            ..self.routed(next_hop)
        }
    }

    /// This packet as the next hop of a router has to get it.
    #[must_use]
    pub fn routed(&self, next_hop: NextHop) -> Self {
        Self {
            to: next_hop.destination,
            from: next_hop.source,
            ttl: self.ttl - 1,
            ..self.clone()
        }
    }

    /// A packet the other way.
    #[must_use]
    pub fn answer(&self) -> Self {
        Self {
            to: self.from,
            from: self.to,
            source: self.destination,
            destination: self.source,
            ..self.clone()
        }
    }

    /// Offset of the IP header.
    pub fn network(&self) -> usize {
        Ethernet2Header::LEN + self.vlans.len() * SingleVlanHeader::LEN
    }

    /// Offset of the TCP or UDP header.
    pub fn transport(&self) -> usize {
        self.network()
            + match self.destination {
                SocketAddr::V4(_) => Ipv4Header::MIN_LEN + self.ipv4_options.len(),
                SocketAddr::V6(_) => Ipv6Header::LEN + self.chain().1.len(),
            }
    }

    /// Bytes of the IP packet.
    pub fn length(&self) -> u64 {
        (self.frame().len() - self.network() - self.padding.len()) as u64
    }

    /// The frame.
    ///
    /// # Panics
    ///
    /// If the packet cannot be written down: its ends are of different families, or something is too long.
    pub fn frame(&self) -> Vec<u8> {
        let packet = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source.octets(), destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source.octets(), destination.octets()),
            ends => panic!("{ends:?} are of different families"),
        };
        let network = match self.destination {
            SocketAddr::V4(_) => ether_type::IPV4,
            SocketAddr::V6(_) => ether_type::IPV6,
        };
        [self.link(network), packet, self.padding.clone()].concat()
    }

    /// What stands in front of a packet of the type `network`.
    pub(super) fn link(&self, network: EtherType) -> Vec<u8> {
        let tags = self.vlans.iter().map(|(ether_type, _)| *ether_type);
        let mut ether_types = tags.chain([network]);
        let mut bytes = Ethernet2Header {
            destination: self.to,
            source: self.from,
            ether_type: ether_types.next().unwrap_or(network),
        }
        .to_bytes()
        .to_vec();
        for ((_, number), ether_type) in self.vlans.iter().zip(ether_types) {
            let tag = SingleVlanHeader {
                pcp: VlanPcp::try_new(5).expect("three bits"),
                drop_eligible_indicator: true,
                vlan_id: VlanId::try_new(*number).expect("a VLAN's number has 12 bits"),
                ether_type,
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let (offset, more_fragments) = self.ipv4_fragment;
        let mut header = Ipv4Header {
            dscp: IpDscp::try_new(self.traffic_class >> 2).expect("six bits"),
            ecn: IpEcn::try_new(self.traffic_class & 3).expect("two bits"),
            identification: 0xbeef,
            dont_fragment: true,
            more_fragments,
            fragment_offset: IpFragOffset::try_new(offset).expect("the offset has 13 bits"),
            time_to_live: self.ttl,
            protocol: self.number(),
            source,
            destination,
            options: Ipv4Options::try_from(self.ipv4_options.as_slice()).expect("the options are whole words"),
            ..Ipv4Header::default()
        };
        let transport = self.above_ip(
            |tcp| tcp.calc_checksum_ipv4_raw(source, destination, &self.payload),
            |udp| udp.calc_checksum_ipv4_raw(source, destination, &self.payload),
            |[type_u8, code_u8], bytes5to8| {
                let kind = Icmpv4Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
            },
        );
        header
            .set_payload_len(transport.len())
            .expect("the packet is not too long");
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), transport].concat()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let (next_header, extensions) = self.chain();
        let mut header = Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: Ipv6FlowLabel::try_new(0x5_4321).expect("20 bits"),
            next_header,
            hop_limit: self.ttl,
            source,
            destination,
            ..Ipv6Header::default()
        };
        let transport = self.above_ip(
            |tcp| tcp.calc_checksum_ipv6_raw(source, destination, &self.payload),
            |udp| udp.calc_checksum_ipv6_raw(source, destination, &self.payload),
            |[type_u8, code_u8], bytes5to8| {
                let kind = Icmpv6Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                let header = Icmpv6Header::with_checksum(kind, source, destination, &self.payload);
                header.expect("the packet is not too long").to_bytes().to_vec()
            },
        );
        header
            .set_payload_length(extensions.len() + transport.len())
            .expect("the packet is not too long");
        [header.to_bytes().to_vec(), extensions, transport].concat()
    }

    /// The number of the first extension header, or of the transport, and the bytes of all of them.
    fn chain(&self) -> (IpNumber, Vec<u8>) {
        let last = (self.number(), Vec::new());
        self.extensions.iter().rev().fold(last, |(next, rest), extension| {
            (extension.number(), [extension.bytes(next), rest].concat())
        })
    }

    /// The IP protocol number.
    fn number(&self) -> IpNumber {
        match (&self.transport, self.destination) {
            (Transport::Tcp(_), _) => ip_number::TCP,
            (Transport::Udp | Transport::UncheckedUdp, _) => ip_number::UDP,
            (Transport::Message(..), SocketAddr::V4(_)) => ip_number::ICMP,
            (Transport::Message(..), SocketAddr::V6(_)) => ip_number::IPV6_ICMP,
        }
    }

    fn above_ip<E: std::fmt::Debug>(
        &self,
        tcp_checksum: impl Fn(&TcpHeader) -> Result<u16, E>,
        udp_checksum: impl Fn(&UdpHeader) -> Result<u16, E>,
        message: impl Fn([u8; 2], [u8; 4]) -> Vec<u8>,
    ) -> Vec<u8> {
        let header = match &self.transport {
            Transport::Tcp(header) => {
                let mut header = TcpHeader {
                    source_port: self.source.port(),
                    destination_port: self.destination.port(),
                    ..(**header).clone()
                };
                header.checksum = tcp_checksum(&header).expect("the packet is not too long");
                header.to_bytes().to_vec()
            }
            Transport::Udp | Transport::UncheckedUdp => {
                let length = UdpHeader::LEN + self.payload.len();
                let mut header = UdpHeader {
                    source_port: self.source.port(),
                    destination_port: self.destination.port(),
                    length: u16::try_from(length).expect("the packet is not too long"),
                    checksum: 0,
                };
                if matches!(self.transport, Transport::Udp) {
                    header.checksum = udp_checksum(&header).expect("the packet is not too long");
                }
                header.to_bytes().to_vec()
            }
            Transport::Message(kind, rest) => message(*kind, *rest),
        };
        [header, self.payload.clone()].concat()
    }
}

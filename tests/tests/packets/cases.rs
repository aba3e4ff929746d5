//! What many tests run over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer_tests::packet::{Extension, Packet, Transport};
use etherparse::{EtherType, ether_type};

/// The addresses that tests use, of one IP version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// A client that is not a neighbour of the balancer.
    pub(crate) client: IpAddr,
    /// A client on the clients' side of the balancer.
    pub(crate) neighbor: IpAddr,
    /// The gateway to other clients, on the clients' side.
    pub(crate) gateway: IpAddr,
    pub(crate) vip: IpAddr,
    pub(crate) other_vip: IpAddr,
    pub(crate) backend: IpAddr,
    pub(crate) other_backend: IpAddr,
}

pub(crate) const V4: Family = Family {
    client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    neighbor: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 7)),
    gateway: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 254)),
    vip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    other_vip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)),
    backend: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 11)),
    other_backend: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 12)),
};

pub(crate) const V6: Family = Family {
    client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7)),
    neighbor: IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 7)),
    gateway: IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0xfe)),
    vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
    other_vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x20)),
    backend: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x11)),
    other_backend: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x12)),
};

pub(crate) const FAMILIES: [Family; 2] = [V4, V6];

impl Family {
    /// A host on the backends' side.
    pub(crate) fn host(self, number: u8) -> IpAddr {
        match self.backend {
            IpAddr::V4(_) => Ipv4Addr::new(10, 2, 0, number).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }
}

/// Every kind of packet that belongs to a flow, with its payload.
pub(crate) fn kinds() -> [(&'static str, Transport, &'static [u8]); 8] {
    [
        ("SYN", Transport::syn(), b""),
        ("ACK", Transport::ack(), b""),
        ("data of even length", Transport::ack(), b"affinity"),
        ("data of odd length", Transport::ack(), b"balance"),
        ("FIN", Transport::fin(), b""),
        ("RST", Transport::rst(), b""),
        ("UDP", Transport::Udp, b"affinity"),
        ("UDP without a checksum", Transport::UncheckedUdp, b"affinity"),
    ]
}

/// Ports from 10,000 on, each once: a flow of its own for every packet.
pub(crate) fn clients(address: IpAddr) -> impl Iterator<Item = SocketAddr> {
    (10_000..).map(move |port| SocketAddr::new(address, port))
}

/// What is added to a packet.
pub(crate) type Addition = fn(&mut Packet);

const CUSTOMER_TAG: (EtherType, u16) = (ether_type::VLAN_TAGGED_FRAME, 0xabc);
const PROVIDER_TAG: (EtherType, u16) = (ether_type::PROVIDER_BRIDGING, 0x123);
/// A router alert (RFC 2113), then no operation and the end of the options.
const IPV4_OPTIONS: [u8; 8] = [148, 4, 0, 0, 1, 1, 0, 0];

const ADDITIONS: [(&str, Addition); 7] = [
    ("a VLAN tag", |packet| packet.vlans = vec![CUSTOMER_TAG]),
    ("two VLAN tags", |packet| {
        packet.vlans = vec![PROVIDER_TAG, CUSTOMER_TAG];
    }),
    ("Ethernet padding", |packet| {
        packet.payload = Vec::new();
        packet.padding = vec![0x5a; 18];
    }),
    ("as much as an Ethernet frame holds", |packet| {
        packet.payload = vec![0xa5; 1_400];
    }),
    ("more than one buffer holds", |packet| {
        packet.payload = vec![0xa5; 8_901];
    }),
    ("the last hop but one", |packet| packet.ttl = 2),
    ("the first hop", |packet| packet.ttl = 255),
];

const ADDITIONS_TO_IPV4: [(&str, Addition); 2] = [
    ("IPv4 options", |packet| packet.ipv4_options = IPV4_OPTIONS.to_vec()),
    ("all that there can be before the ports", |packet| {
        packet.vlans = vec![PROVIDER_TAG, CUSTOMER_TAG];
        packet.ipv4_options = IPV4_OPTIONS.repeat(5);
    }),
];

const ADDITIONS_TO_IPV6: [(&str, Addition); 3] = [
    ("an extension header", |packet| {
        packet.extensions = vec![Extension::HopByHop];
    }),
    ("an atomic fragment", |packet| {
        packet.extensions = vec![Extension::ATOMIC_FRAGMENT];
    }),
    ("every extension header there is", |packet| {
        packet.extensions = vec![
            Extension::HopByHop,
            Extension::Destination(2),
            Extension::Routing(0),
            Extension::ATOMIC_FRAGMENT,
            Extension::Authentication,
            Extension::Destination(0),
        ];
    }),
];

/// Everything that there can be around the headers of a packet of this IP version.
pub(crate) fn additions(family: Family) -> impl Iterator<Item = (&'static str, Addition)> {
    let of_family = if family.vip.is_ipv4() {
        &ADDITIONS_TO_IPV4[..]
    } else {
        &ADDITIONS_TO_IPV6
    };
    ADDITIONS.iter().chain(of_family).copied()
}

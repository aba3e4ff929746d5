//! What is the host's business, not the balancer's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer_common::abi::protocol::TCP;
use balancer_tests::packet::{Extension, Host, Packet, Transport, backend, service};
use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, PacketBuilder, ether_type, ip_number};

use crate::{
    cases::{FAMILIES, Family, V4, V6},
    setting::{assert_passed, serve_all, served_at},
};

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0xaa, 1];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0xaa, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

/// A packet of a client to a service.
fn request(family: Family) -> Packet {
    Packet::new(
        Transport::syn(),
        SocketAddr::new(family.client, 40_000),
        served_at(family),
    )
}

fn octets(family: Family) -> ([u8; 16], [u8; 16]) {
    let octets = |address| match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    };
    (octets(family.client), octets(family.vip))
}

#[test]
fn arp_and_neighbour_discovery_for_a_vip_pass() {
    let (client, vip) = match (V4.client, V4.vip) {
        (std::net::IpAddr::V4(client), std::net::IpAddr::V4(vip)) => (client.octets(), vip.octets()),
        _ => unreachable!("both are IPv4 addresses"),
    };
    let (client6, vip6) = octets(V6);
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    for receiver in [BROADCAST, ROUTER] {
        let question = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            ether_type::IPV4,
            ArpOperation::REQUEST,
            &SENDER,
            &client,
            &[0; 6],
            &vip,
        );
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(SENDER, receiver)
            .arp(question.unwrap())
            .write(&mut frame)
            .unwrap();
        cases.push(("ARP", frame));
    }
    for receiver in [[0x33, 0x33, 0xff, 0, 0, 0x10], ROUTER] {
        let mut solicitation = Vec::new();
        PacketBuilder::ethernet2(SENDER, receiver)
            .ipv6(client6, vip6, 255)
            .icmpv6_raw(135, 0, [0; 4])
            .write(&mut solicitation, &vip6)
            .unwrap();
        cases.push(("neighbour solicitation", solicitation));
    }
    let mut other = Vec::new();
    PacketBuilder::ethernet2(SENDER, ROUTER)
        .ipv4(client, vip, 64)
        .write(&mut other, ip_number::SCTP, &[0; 12])
        .unwrap();
    cases.push(("another protocol", other));

    Host::run(|host| {
        serve_all(host);
        for (case, frame) in cases {
            assert_passed(host, case, &frame);
        }
    });
}

#[test]
fn frames_to_groups_pass() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            for to in [
                BROADCAST,
                [0x01, 0x00, 0x5e, 0, 0, 1],
                [0x33, 0x33, 0, 0, 0, 1],
                [0x03, 0, 0, 0, 0, 1],
            ] {
                let frame = Packet { to, ..request(family) }.frame();
                assert_passed(host, &format!("to {to:02x?}"), &frame);
            }
        }
    });
}

#[test]
fn other_ports_of_a_vip_and_other_addresses_pass() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            for transport in [Transport::syn(), Transport::Udp] {
                for destination in [
                    SocketAddr::new(family.vip, 22),
                    SocketAddr::new(family.vip, 0),
                    SocketAddr::new(family.vip, 8080),
                    SocketAddr::new(family.other_vip, 80),
                    SocketAddr::new(family.backend, 8080),
                    SocketAddr::new(family.client, 80),
                ] {
                    let client = SocketAddr::new(family.client, 40_000);
                    let packet = Packet::new(transport.clone(), client, destination);
                    assert_passed(host, &destination.to_string(), &packet.frame());
                }
            }
        }
    });
}

#[test]
fn what_no_router_may_forward_passes() {
    Host::run(|host| {
        serve_all(host);
        let v4 = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [239, 1, 1, 1], [255; 4]].map(Ipv4Addr::from);
        let v6 = ["::", "::1", "::ffff:198.51.100.7", "fe80::1", "febf::1", "ff02::1"]
            .map(|address| address.parse::<Ipv6Addr>().unwrap());
        let sources = v4.map(|address| (V4, address.into())).into_iter();
        for (family, source) in sources.chain(v6.map(|address| (V6, address.into()))) {
            let packet = Packet {
                source: SocketAddr::new(source, 40_000),
                ..request(family)
            };
            assert_passed(host, &format!("from {source}"), &packet.frame());
        }
        let routed = Packet {
            extensions: vec![Extension::Routing(1)],
            ..request(V6)
        };
        assert_passed(host, "a stop on the way", &routed.frame());
    });
}

#[test]
fn frames_that_are_not_looked_into_pass() {
    let tag = (ether_type::VLAN_TAGGED_FRAME, 7);
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let tagged = Packet {
                vlans: vec![tag; 3],
                ..request(family)
            };
            assert_passed(host, "three VLAN tags", &tagged.frame());
            // LLDP, MPLS, a length as in IEEE 802.3.
            for ether_type in [[0x88, 0xcc], [0x88, 0x47], [0, 46]] {
                let mut frame = request(family).frame();
                frame[12..14].copy_from_slice(&ether_type);
                assert_passed(host, &format!("type {ether_type:02x?}"), &frame);
            }
            // Cut off before the destination.
            let network = request(family).network();
            for length in [network, network + 1, network + 19] {
                let mut frame = request(family).frame();
                frame.truncate(length);
                assert_passed(host, &format!("{length} bytes"), &frame);
            }
        }
    });
}

#[test]
fn a_data_plane_without_services_passes_everything() {
    Host::run(|host| {
        for family in FAMILIES {
            assert_passed(host, "nothing yet", &request(family).frame());
        }
        let [family, _] = FAMILIES;
        let target = backend(SocketAddr::new(family.backend, 80));
        host.serve([service("web", family.vip, TCP, &[80], [target])]);
        host.serve([]);
        assert_passed(host, "nothing any more", &request(family).frame());
    });
}

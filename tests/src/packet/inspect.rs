//! Reading packets.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Source and destination of a TCP or UDP packet.
///
/// # Panics
///
/// If the frame carries none.
pub fn ends(frame: &[u8]) -> (SocketAddr, SocketAddr) {
    let packet = SlicedPacket::from_ethernet(frame).expect("the frame is well formed");
    let (source, destination): (IpAddr, IpAddr) = match packet.net.expect("the frame carries IP") {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("the frame carries ARP"),
    };
    let (source_port, destination_port) = match packet.transport.expect("the frame carries TCP or UDP") {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        other => panic!("the frame carries {other:?}"),
    };
    (
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    )
}

/// Whether each checksum of a TCP or UDP packet is right, or a UDP one left out.
///
/// # Panics
///
/// If the frame carries no such packet.
pub fn checksums_are_right(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).expect("the frame is well formed");
    let transport = packet.transport.expect("the frame carries TCP or UDP");
    match packet.net.expect("the frame carries IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            header.header_checksum == header.calc_header_checksum()
                && transport_is_right(
                    &transport,
                    |tcp| tcp.calc_checksum_ipv4(source, destination).ok(),
                    |udp| {
                        udp.to_header()
                            .calc_checksum_ipv4_raw(source, destination, udp.payload())
                            .ok()
                    },
                )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            transport_is_right(
                &transport,
                |tcp| tcp.calc_checksum_ipv6(source, destination).ok(),
                |udp| {
                    udp.to_header()
                        .calc_checksum_ipv6_raw(source, destination, udp.payload())
                        .ok()
                },
            )
        }
        NetSlice::Arp(_) => panic!("the frame carries ARP"),
    }
}

fn transport_is_right(
    transport: &TransportSlice<'_>,
    tcp_checksum: impl Fn(&etherparse::TcpSlice<'_>) -> Option<u16>,
    udp_checksum: impl Fn(&etherparse::UdpSlice<'_>) -> Option<u16>,
) -> bool {
    match transport {
        TransportSlice::Tcp(tcp) => Some(tcp.checksum()) == tcp_checksum(tcp),
        TransportSlice::Udp(udp) => udp.checksum() == 0 || Some(udp.checksum()) == udp_checksum(udp),
        other => panic!("the frame carries {other:?}"),
    }
}

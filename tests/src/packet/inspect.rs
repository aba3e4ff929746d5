//! Reading packets.

use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::Mac;
use etherparse::{
    Ethernet2HeaderSlice, Ipv4Slice, Ipv6Slice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice, ip_number,
};

/// What a well-formed frame with a TCP or UDP packet says.
#[derive(Clone, Debug)]
pub struct Reading {
    /// MAC of the receiver.
    pub to: Mac,
    /// MAC of the sender.
    pub from: Mac,
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes of the IP packet.
    pub length: u64,
    /// Whether each checksum is right, or a UDP one left out.
    pub checksums_are_right: bool,
    /// The frame with zeroes in the place of what translating and routing change: MACs, TTL, addresses, ports and
    /// checksums.
    pub rest: Vec<u8>,
}

/// Reads a frame.
///
/// # Panics
///
/// If it is not well-formed or carries neither TCP nor UDP.
#[track_caller]
pub fn read(frame: &[u8]) -> Reading {
    Reading::of(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"))
}

impl Reading {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// If it is not well-formed or carries neither TCP nor UDP: the reason.
    pub fn of(frame: &[u8]) -> Result<Self, String> {
        let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
        let link = Ethernet2HeaderSlice::from_slice(frame).map_err(|error| error.to_string())?;
        let network = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => Network::of_ipv4(ip),
            Some(NetSlice::Ipv6(ip)) => Network::of_ipv6(ip),
            _ => return Err("the frame carries no IP".to_owned()),
        };
        let transport = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => Transport::of_tcp(tcp, &network),
            Some(TransportSlice::Udp(udp)) => Transport::of_udp(udp, &network),
            _ => return Err("the packet carries neither TCP nor UDP".to_owned()),
        };
        let mut rest = frame.to_vec();
        rest[..12].fill(0);
        let headers = [
            (network.header, network.translated),
            (transport.header, transport.translated),
        ];
        for (header, translated) in headers {
            let start = header.as_ptr() as usize - frame.as_ptr() as usize;
            for &(begin, end) in translated {
                rest[start + begin..start + end].fill(0);
            }
        }
        Ok(Self {
            to: link.destination(),
            from: link.source(),
            source: SocketAddr::new(network.source, transport.source),
            destination: SocketAddr::new(network.destination, transport.destination),
            protocol: transport.protocol,
            ttl: network.ttl,
            length: network.length,
            checksums_are_right: network.checksum_is_right && transport.checksum_is_right,
            rest,
        })
    }
}

/// Offsets in a header, from and to.
type Ranges = &'static [(usize, usize)];

struct Network<'a> {
    header: &'a [u8],
    translated: Ranges,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    length: u64,
    checksum_is_right: bool,
}

impl<'a> Network<'a> {
    fn of_ipv4(ip: &'a Ipv4Slice<'_>) -> Self {
        let header = ip.header();
        Self {
            header: header.slice(),
            translated: &[(8, 9), (10, 20)],
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            ttl: header.ttl(),
            length: header.total_len().into(),
            checksum_is_right: header.header_checksum() == header.to_header().calc_header_checksum(),
        }
    }

    fn of_ipv6(ip: &'a Ipv6Slice<'_>) -> Self {
        let header = ip.header();
        Self {
            header: header.slice(),
            translated: &[(7, 40)],
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            ttl: header.hop_limit(),
            length: u64::from(header.payload_length()) + 40,
            checksum_is_right: true,
        }
    }
}

struct Transport<'a> {
    header: &'a [u8],
    translated: Ranges,
    protocol: u8,
    source: u16,
    destination: u16,
    checksum_is_right: bool,
}

impl<'a> Transport<'a> {
    fn of_tcp(tcp: &TcpSlice<'a>, network: &Network<'_>) -> Self {
        let checksum = match (network.source, network.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                tcp.calc_checksum_ipv4(source.octets(), destination.octets()).ok()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                tcp.calc_checksum_ipv6(source.octets(), destination.octets()).ok()
            }
            _ => None,
        };
        Self {
            header: tcp.header_slice(),
            translated: &[(0, 4), (16, 18)],
            protocol: ip_number::TCP.0,
            source: tcp.source_port(),
            destination: tcp.destination_port(),
            checksum_is_right: checksum == Some(tcp.checksum()),
        }
    }

    fn of_udp(udp: &UdpSlice<'a>, network: &Network<'_>) -> Self {
        let header = udp.to_header();
        let checksum = match (network.source, network.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => header
                .calc_checksum_ipv4_raw(source.octets(), destination.octets(), udp.payload())
                .ok(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => header
                .calc_checksum_ipv6_raw(source.octets(), destination.octets(), udp.payload())
                .ok(),
            _ => None,
        };
        Self {
            header: udp.slice(),
            translated: &[(0, 4), (6, 8)],
            protocol: ip_number::UDP.0,
            source: header.source_port,
            destination: header.destination_port,
            checksum_is_right: header.checksum == 0 || checksum == Some(header.checksum),
        }
    }
}

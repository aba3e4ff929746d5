//! Reading packets.

use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::Mac;
use etherparse::{
    Ethernet2HeaderSlice, IpNumber, Ipv4Slice, Ipv6Slice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice,
    ip_number,
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
    /// Whether it is a fragment. Its ports are then not read, and its content's checksum is not looked at.
    pub is_fragment: bool,
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
        let frame = &without_what_hides(frame)[..];
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
            None if packet.is_ip_payload_fragmented() => Transport::hidden(&packet),
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
                let end = rest.len().min(start + end);
                rest[end.min(start + begin)..end].fill(0);
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
            is_fragment: packet.is_ip_payload_fragmented(),
            checksums_are_right: network.checksum_is_right && transport.checksum_is_right,
            rest,
        })
    }
}

/// The frame, with nothing that the reader would look for in a later fragment of IPv6: the number that its fragment header has
/// is that of a header that only the first one carries.
fn without_what_hides(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if let Some(header) = later_fragment_header(frame) {
        bytes[header] = ip_number::UDP.0;
    }
    bytes
}

/// Where the fragment header of a later fragment of IPv6 stands.
fn later_fragment_header(frame: &[u8]) -> Option<usize> {
    let mut network = 14;
    while matches!(frame.get(network - 2..network)?, [0x81, 0x00] | [0x88, 0xa8]) {
        network += 4;
    }
    if frame.get(network)? >> 4 != 6 {
        return None;
    }
    let (mut number, mut header) = (*frame.get(network + 6)?, network + 40);
    loop {
        let length = usize::from(*frame.get(header + 1)?);
        let next = match IpNumber(number) {
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS => (length + 1) * 8,
            ip_number::AUTH => (length + 2) * 4,
            ip_number::IPV6_FRAG => {
                let offset = [*frame.get(header + 2)?, *frame.get(header + 3)?];
                return (u16::from_be_bytes(offset) >> 3 != 0).then_some(header);
            }
            _ => return None,
        };
        number = *frame.get(header)?;
        header += next;
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
    /// That of a fragment, which may be anything as far as headers of TCP and UDP reach.
    fn hidden(packet: &SlicedPacket<'a>) -> Self {
        let payload = packet.ip_payload();
        Self {
            header: payload.map_or(&[], |payload| payload.payload),
            translated: &[(0, 20)],
            protocol: payload.map_or(0, |payload| payload.ip_number.0),
            source: 0,
            destination: 0,
            checksum_is_right: true,
        }
    }

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

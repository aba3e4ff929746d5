//! ICMP errors as the balancer writes them.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, Ipv4Header, Ipv6Header, ether_type, ip_number,
};

use super::Packet;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// This is the largest packet that fits.
    TooBig(u16),
    /// The TTL or hop limit has run out.
    TimeExceeded,
    /// Nobody listens at the port.
    PortUnreachable,
}

impl Report {
    /// Type, code and the rest of the header.
    fn header(self, is_v4: bool) -> ([u8; 2], [u8; 4]) {
        match (self, is_v4) {
            (Self::TooBig(mtu), true) => ([3, 4], u32::from(mtu).to_be_bytes()),
            (Self::TooBig(mtu), false) => ([2, 0], u32::from(mtu).to_be_bytes()),
            (Self::TimeExceeded, true) => ([11, 0], [0; 4]),
            (Self::TimeExceeded, false) => ([3, 0], [0; 4]),
            (Self::PortUnreachable, true) => ([3, 3], [0; 4]),
            (Self::PortUnreachable, false) => ([1, 4], [0; 4]),
        }
    }
}

impl Packet {
    /// The frame by which `reporter` tells the sender of this packet what became of it.
    ///
    /// # Panics
    ///
    /// If the reporter's address is of another family.
    pub fn reported(&self, reporter: IpAddr, report: Report) -> Vec<u8> {
        let frame = self.frame();
        let packet = &frame[self.network()..frame.len() - self.padding.len()];
        let ([kind, code], rest) = report.header(reporter.is_ipv4());
        let back = self.answer();
        match (reporter, self.source.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // RFC 1812, 4.3.2.3: no more than 576 bytes in all.
                let quoted = &packet[..packet.len().min(576 - 28)];
                let kind = Icmpv4Type::Unknown {
                    type_u8: kind,
                    code_u8: code,
                    bytes5to8: rest,
                };
                let message = [
                    Icmpv4Header::with_checksum(kind, quoted).to_bytes().to_vec(),
                    quoted.to_vec(),
                ]
                .concat();
                let length = u16::try_from(message.len()).expect("the packet is not too long");
                let mut header = Ipv4Header::new(length, 64, ip_number::ICMP, source.octets(), destination.octets())
                    .expect("the packet is not too long");
                // RFC 1812, 4.3.2.5.
                header.dscp = IpDscp::try_new(0x30).expect("six bits");
                header.dont_fragment = true;
                header.header_checksum = header.calc_header_checksum();
                [back.link(ether_type::IPV4), header.to_bytes().to_vec(), message].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // RFC 4443, 2.4: no more than the least MTU in all.
                let quoted = &packet[..packet.len().min(1_280 - 48)];
                let kind = Icmpv6Type::Unknown {
                    type_u8: kind,
                    code_u8: code,
                    bytes5to8: rest,
                };
                let message = Icmpv6Header::with_checksum(kind, source.octets(), destination.octets(), quoted)
                    .expect("the packet is not too long");
                let message = [message.to_bytes().to_vec(), quoted.to_vec()].concat();
                let header = Ipv6Header {
                    payload_length: u16::try_from(message.len()).expect("the packet is not too long"),
                    next_header: ip_number::IPV6_ICMP,
                    hop_limit: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                [back.link(ether_type::IPV6), header.to_bytes().to_vec(), message].concat()
            }
            ends => panic!("{ends:?} are of different families"),
        }
    }
}

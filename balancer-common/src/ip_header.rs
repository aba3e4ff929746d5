//! IP headers as the balancer writes them: without options and extension headers.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{abi::Address, checksum::Sum};

/// "Don't fragment" in the word of an IPv4 header that says which part of a packet it is.
pub(crate) const DONT_FRAGMENT: [u8; 2] = [0x40, 0];

/// The place of a packet that is no fragment and is not to become one. Its identification has no meaning (RFC 6864, 4.1).
pub(crate) const ATOMIC: Place = Place {
    identification: [0; 2],
    part: DONT_FRAGMENT,
};

/// The IP header of a packet, as far as both versions have it.
#[derive(Clone, Copy)]
pub(crate) struct Outline {
    /// Type of service or traffic class.
    pub(crate) class: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    /// Bytes behind the header.
    pub(crate) payload: u16,
}

/// Which part of which packet this is, as IPv4 says it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) identification: [u8; 2],
    /// Flags and offset.
    pub(crate) part: [u8; 2],
}

impl Outline {
    #[inline(always)]
    pub(crate) fn ipv4(self, place: Place, source: Address, destination: Address) -> Ipv4Hdr {
        let mut header = Ipv4Hdr {
            vihl: 0x45,
            tos: self.class,
            tot_len: self.payload.wrapping_add(Ipv4Hdr::LEN as u16).to_be_bytes(),
            id: place.identification,
            frags: place.part,
            ttl: self.ttl,
            proto: self.protocol,
            check: [0; 2],
            src_addr: source.v4_octets(),
            dst_addr: destination.v4_octets(),
        };
        header.check = Sum::ZERO.add_ipv4_header(&header).checksum();
        header
    }

    #[inline(always)]
    pub(crate) fn ipv6(self, source: Address, destination: Address) -> Ipv6Hdr {
        Ipv6Hdr {
            vcf: [0x60 | self.class >> 4, self.class << 4, 0, 0],
            payload_len: self.payload.to_be_bytes(),
            next_hdr: self.protocol,
            hop_limit: self.ttl,
            src_addr: source.octets(),
            dst_addr: destination.octets(),
        }
    }
}

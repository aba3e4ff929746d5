//! IPv6 extension headers (RFC 8200, 4).

use etherparse::{IpAuthHeader, IpFragOffset, IpNumber, Ipv6FragmentHeader, Ipv6RawExtHeader, ip_number};

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub enum Extension {
    /// Hop-by-hop options of the smallest size.
    HopByHop,
    /// Destination options with so many units of eight bytes behind the first eight.
    Destination(u8),
    /// A routing header with so many segments left.
    Routing(u8),
    /// A fragment header.
    Fragment {
        /// In units of eight bytes.
        offset: u16,
        /// Whether more fragments follow.
        more: bool,
    },
    /// An authentication header with a check value of 12 bytes.
    Authentication,
}

impl Extension {
    /// A whole packet in the guise of a fragment (RFC 6946).
    pub const ATOMIC_FRAGMENT: Self = Self::Fragment { offset: 0, more: false };

    /// The number that the header before gives for it.
    pub(super) const fn number(self) -> IpNumber {
        match self {
            Self::HopByHop => ip_number::IPV6_HOP_BY_HOP,
            Self::Destination(_) => ip_number::IPV6_DEST_OPTIONS,
            Self::Routing(_) => ip_number::IPV6_ROUTE,
            Self::Fragment { .. } => ip_number::IPV6_FRAG,
            Self::Authentication => ip_number::AUTH,
        }
    }

    /// The header, followed by one of the kind `next`.
    pub(super) fn bytes(self, next: IpNumber) -> Vec<u8> {
        // Options that consist of padding, and the fixed part of a routing header of a type for experiments (RFC 4727).
        const PADDING: [u8; 2] = [1, 4];
        match self {
            Self::HopByHop => raw(next, PADDING, 0),
            Self::Destination(units) => raw(next, PADDING, units),
            Self::Routing(segments_left) => raw(next, [253, segments_left], 0),
            Self::Fragment { offset, more } => {
                let offset = IpFragOffset::try_new(offset).expect("the offset has 13 bits");
                Ipv6FragmentHeader::new(next, offset, more, 0x1234_5678)
                    .to_bytes()
                    .to_vec()
            }
            Self::Authentication => IpAuthHeader::new(next, 7, 8, &[0xa5; 12])
                .expect("the check value consists of whole words")
                .to_bytes()
                .to_vec(),
        }
    }
}

fn raw(next: IpNumber, begin: [u8; 2], units: u8) -> Vec<u8> {
    let mut content = begin.to_vec();
    content.resize(6 + usize::from(units) * 8, 0);
    Ipv6RawExtHeader::new_raw(next, &content)
        .expect("the content ends with a unit")
        .to_bytes()
        .to_vec()
}

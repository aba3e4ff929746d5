//! Packets as the XDP program and the tests on the host both see them.

mod headers;
mod parse;
#[cfg(test)]
pub(crate) mod samples;
mod tags;

pub use headers::{EtherType, Ethernet, Ipv6Extension, Tcp, Vlan, Wire};
pub use parse::{
    Family, Fragment, Headers, Piece, Ports, Unparsed, ends_ipv4, ends_ipv6, link, parse, parse_network, parse_plain,
    parse_plain_ipv4, parse_plain_ipv6, parse_quoted, parse_quoted_network, parse_quoted_ports, parse_transport,
    plain_family,
};
pub use tags::Tags;

/// A packet whose headers can be looked at in place, with every access checked against its end.
///
/// The XDP program implements it over the frame in the driver's memory, tests over a slice, so that parser and
/// rewrites are the same code in both.
pub trait Packet {
    /// Whether the packet, from the start of its link-layer header, has at least `length` bytes, those included that
    /// cannot be viewed because they lie in a later buffer of a jumbo frame.
    fn has(&self, length: usize) -> bool;

    /// The same, told without a call: `false` may mean that only a call can tell.
    fn surely_has(&self, length: usize) -> bool;

    /// The header at `offset`, or `None` if it is not wholly in the part of the packet that can be accessed.
    fn view<T: Wire>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset` to be changed in place.
    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T>;
}

impl Packet for [u8] {
    fn has(&self, length: usize) -> bool {
        length <= self.len()
    }

    fn surely_has(&self, length: usize) -> bool {
        self.has(length)
    }

    fn view<T: Wire>(&self, offset: usize) -> Option<&T> {
        let bytes = self.get(offset..)?.get(..size_of::<T>())?;
        // SAFETY: `bytes` is as long as a `T`, which as a `Wire` type has no alignment and takes any bytes.
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
    }

    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T> {
        let bytes = self.get_mut(offset..)?.get_mut(..size_of::<T>())?;
        // SAFETY: as in `view`; the exclusive borrow of the slice is passed on.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_viewed_within_its_bounds_only() {
        let mut bytes = [0_u8, 1, 2, 3, 4];
        let packet = bytes.as_mut_slice();
        assert_eq!(packet.view::<[u8; 2]>(0), Some(&[0, 1]));
        assert_eq!(packet.view::<[u8; 2]>(3), Some(&[3, 4]));
        assert_eq!(packet.view::<[u8; 0]>(5), Some(&[]));
        for offset in [4, 5, 6, usize::MAX - 1, usize::MAX] {
            assert_eq!(packet.view::<[u8; 2]>(offset), None, "{offset}");
            assert_eq!(packet.view_mut::<[u8; 2]>(offset), None, "{offset}");
        }
        assert!(packet.has(5));
        assert!(!packet.has(6));

        *packet.view_mut::<[u8; 2]>(3).unwrap() = [8, 9];
        assert_eq!(bytes, [0, 1, 2, 8, 9]);
    }

    #[test]
    fn headers_are_viewed_at_any_address() {
        let bytes: [u8; 32] = core::array::from_fn(|index| index as u8);
        for offset in 0..8 {
            let header = bytes.view::<Tcp>(offset).unwrap();
            let first = offset as u8;
            assert_eq!(header.source, [first, first + 1]);
            assert_eq!(header.checksum, [first + 16, first + 17]);
            assert_eq!(header.urgent, [first + 18, first + 19]);
        }
    }
}

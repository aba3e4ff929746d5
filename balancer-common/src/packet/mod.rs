//! Packets as the XDP program and the tests on the host both see them.

mod headers;
mod parse;

pub use headers::{EtherType, Ethernet, Ipv6Extension, Tcp, Vlan, Wire};
pub use parse::{Family, Headers, Ports, Unparsed, parse};

/// A packet whose headers can be looked at in place, with every access checked against its end.
///
/// The XDP program implements it over the frame in the driver's memory, tests over a slice, so that parser and
/// rewrites are the same code in both.
pub trait Packet {
    /// Whether the packet, from the start of its link-layer header, has at least `length` bytes, those included that
    /// cannot be viewed because they lie in a later buffer of a jumbo frame.
    fn has(&self, length: usize) -> bool;

    /// The header at `offset`, or `None` if it is not wholly in the part of the packet that can be accessed.
    fn view<T: Wire>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset` to be changed in place.
    fn view_mut<T: Wire>(&mut self, offset: usize) -> Option<&mut T>;
}

impl Packet for [u8] {
    fn has(&self, length: usize) -> bool {
        length <= self.len()
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

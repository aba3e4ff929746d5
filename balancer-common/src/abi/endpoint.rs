//! Addresses with ports that the XDP program recognises, found through the [perfect hash](crate::perfect_hash).

use super::{Address, Port, record};
use crate::hash;

/// What an [`Endpoint`] stands for.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// A service's VIP and port, matched against a packet's destination; the target is a service index.
    Service = 1,
    /// A backend's address and port, matched against a packet's source to find replies; the target is a backend
    /// index.
    Backend = 2,
    /// A VIP alone, with [`ANY_PORT`](super::ANY_PORT) and protocol 0: matched against the destination of packets that
    /// show no port. The target has no meaning.
    Vip = 3,
}

/// What an [`Endpoint`] is found by.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointKey {
    /// The VIP's or the backend's address.
    pub address: Address,
    /// Port, IP protocol number and [`Role`], as one word for comparison.
    selector: u32,
}

impl EndpointKey {
    /// The key of `address` and `port` in the given role. [`ANY_PORT`](super::ANY_PORT) is a port like any other here:
    /// who wants its meaning asks for it.
    #[inline(always)]
    pub const fn new(role: Role, address: Address, port: Port, protocol: u8) -> Self {
        let [high, low] = port;
        Self {
            address,
            selector: u32::from_ne_bytes([high, low, protocol, role as u8]),
        }
    }

    /// The key of a VIP alone.
    #[inline(always)]
    pub const fn vip(address: Address) -> Self {
        Self::new(Role::Vip, address, super::ANY_PORT, 0)
    }

    /// The port in network order.
    pub const fn port(self) -> Port {
        let [high, low, ..] = self.selector.to_ne_bytes();
        [high, low]
    }

    /// The hash that places the key in the [perfect hash](crate::perfect_hash).
    #[inline(always)]
    pub const fn hash(self) -> u64 {
        hash::words(self.address.words(), self.selector)
    }
}

/// One entry of the endpoint table.
///
/// An empty entry has a zero selector, which no key has, as every [`Role`] is non-zero.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoint {
    address: Address,
    selector: u32,
    target: u32,
}
record!(Endpoint, 24);

impl Endpoint {
    /// The entry that maps `key` to the service or backend index `target`.
    pub const fn new(key: EndpointKey, target: u32) -> Self {
        Self {
            address: key.address,
            selector: key.selector,
            target,
        }
    }

    /// This entry without its key. The target stays: whoever is comparing the key while it goes either finds it gone or
    /// reads the target that it had.
    #[must_use]
    pub const fn vacated(self) -> Self {
        Self {
            address: Address::UNSPECIFIED,
            selector: 0,
            target: self.target,
        }
    }

    /// The key, or `None` for an empty entry.
    pub fn key(&self) -> Option<EndpointKey> {
        (self.selector != 0).then_some(EndpointKey {
            address: self.address,
            selector: self.selector,
        })
    }

    /// The service or backend index if this is the entry of `key`.
    #[inline(always)]
    pub fn target_of(&self, key: &EndpointKey) -> Option<u32> {
        (self.selector == key.selector && self.address == key.address).then_some(self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacated_entry_keeps_nothing_but_its_target() {
        let key = EndpointKey::new(Role::Service, Address::v4([192, 0, 2, 10]), [0, 80], 6);
        let vacated = Endpoint::new(key, 7).vacated();
        assert_eq!(vacated.key(), None);
        assert_eq!(vacated.target_of(&key), None);
        assert_eq!((vacated.address, vacated.target), (Address::UNSPECIFIED, 7));
    }
}

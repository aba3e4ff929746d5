//! Addresses with ports that the XDP program recognises, found through the [perfect hash](crate::perfect_hash).

use super::{Address, Port, halves, record};
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
    /// What a server of a service is called in QUIC connection IDs; the target is a backend index.
    Server = 4,
}

/// What an [`Endpoint`] is found by.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
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
        Self {
            address,
            selector: halves(port, [protocol, role as u8]),
        }
    }

    /// The key of a VIP alone.
    #[inline(always)]
    pub const fn vip(address: Address) -> Self {
        Self::new(Role::Vip, address, super::ANY_PORT, 0)
    }

    /// The key of the server that is called `id` in the connection IDs of the service with index `service`.
    #[inline(always)]
    pub const fn server(service: u32, id: u64) -> Self {
        Self::new(
            Role::Server,
            Address::from_numbers(service as u64, id),
            super::ANY_PORT,
            0,
        )
    }

    /// The port in network order.
    pub const fn port(self) -> Port {
        let [high, low, ..] = self.selector.to_ne_bytes();
        [high, low]
    }

    /// The IP protocol number.
    pub const fn protocol(self) -> u8 {
        let [_, _, protocol, _] = self.selector.to_ne_bytes();
        protocol
    }

    /// What the endpoint stands for; `None` for a key that none of the constructors made.
    pub const fn role(self) -> Option<Role> {
        let [.., role] = self.selector.to_ne_bytes();
        match role {
            1 => Some(Role::Service),
            2 => Some(Role::Backend),
            3 => Some(Role::Vip),
            4 => Some(Role::Server),
            _ => None,
        }
    }

    /// The hash that places the key in the [perfect hash](crate::perfect_hash).
    #[inline(always)]
    pub const fn hash(self) -> u64 {
        hash::trusted_words(self.address.words(), self.selector)
    }

    /// The hash whose upper bits say which [shortcut](crate::shortcuts) the key may have.
    #[inline(always)]
    pub const fn scattered(&self) -> u64 {
        hash::scattered_with(self.address.words(), self.selector)
    }
}

/// One entry of the endpoint table.
///
/// An empty entry has a zero selector, which no key has, as every [`Role`] is non-zero.
#[repr(C, align(32))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoint {
    address: Address,
    selector: u32,
    target: u32,
    _padding: [u8; 8],
}
record!(
    Endpoint {
        address,
        selector,
        target,
        _padding
    },
    32
);

impl Endpoint {
    /// The entry that maps `key` to the service or backend index `target`.
    pub const fn new(key: EndpointKey, target: u32) -> Self {
        Self {
            address: key.address,
            selector: key.selector,
            target,
            _padding: [0; 8],
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
            _padding: [0; 8],
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
    use crate::abi::{ANY_PORT, protocol};

    const ADDRESS: Address = Address::v4([192, 0, 2, 10]);

    /// Keys each of which differs from the first in one thing.
    fn keys() -> [EndpointKey; 12] {
        let port = 443_u16.to_be_bytes();
        [
            EndpointKey::new(Role::Service, ADDRESS, port, protocol::TCP),
            EndpointKey::new(Role::Backend, ADDRESS, port, protocol::TCP),
            EndpointKey::new(Role::Service, Address::v4([192, 0, 2, 11]), port, protocol::TCP),
            EndpointKey::new(Role::Service, Address::v6([0; 16]), port, protocol::TCP),
            EndpointKey::new(Role::Service, ADDRESS, [port[1], port[0]], protocol::TCP),
            EndpointKey::new(Role::Service, ADDRESS, ANY_PORT, protocol::TCP),
            EndpointKey::new(Role::Service, ADDRESS, port, protocol::UDP),
            EndpointKey::vip(ADDRESS),
            EndpointKey::server(1, 2),
            EndpointKey::server(2, 1),
            EndpointKey::server(1, 3),
            EndpointKey::vip(Address::from_numbers(1, 2)),
        ]
    }

    #[test]
    fn an_entry_is_found_by_its_own_key_only() {
        for (index, key) in keys().iter().enumerate() {
            let endpoint = Endpoint::new(*key, 7);
            assert_eq!(endpoint.key(), Some(*key));
            for (other_index, other) in keys().iter().enumerate() {
                let expected = (index == other_index).then_some(7);
                assert_eq!(endpoint.target_of(other), expected, "{key:?} {other:?}");
                assert_eq!(key.hash() == other.hash(), index == other_index, "{key:?} {other:?}");
            }
        }
    }

    #[test]
    fn an_empty_entry_is_found_by_no_key() {
        let empty = Endpoint::default();
        assert_eq!(empty.key(), None);
        for role in [Role::Service, Role::Backend, Role::Vip, Role::Server] {
            let least = EndpointKey::new(role, Address::UNSPECIFIED, ANY_PORT, 0);
            assert_eq!(empty.target_of(&least), None, "{role:?}");
            assert_eq!(Endpoint::new(least, 0).key(), Some(least));
        }
    }

    #[test]
    fn a_key_gives_its_port_back() {
        let key = EndpointKey::new(Role::Backend, ADDRESS, [0x12, 0x34], protocol::UDP);
        assert_eq!(key.port(), [0x12, 0x34]);
        assert_eq!(EndpointKey::vip(ADDRESS).port(), ANY_PORT);
    }

    #[test]
    fn a_vacated_entry_keeps_nothing_but_its_target() {
        let key = EndpointKey::new(Role::Service, Address::v4([192, 0, 2, 10]), [0, 80], 6);
        let vacated = Endpoint::new(key, 7).vacated();
        assert_eq!(vacated.key(), None);
        assert_eq!(vacated.target_of(&key), None);
        assert_eq!((vacated.address, vacated.target), (Address::UNSPECIFIED, 7));
    }
}

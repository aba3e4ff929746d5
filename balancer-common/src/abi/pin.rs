//! Clients that an operator keeps together.

use super::{Address, record};

/// The part of a pin's key behind the prefix length: a longest-prefix match on it finds the pin of a client.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PinPrefix {
    /// The service's index, big-endian, all of whose bits always count.
    pub service: [u8; 4],
    /// The clients' address in network order, IPv4 in its mapped form.
    pub client: [u8; 16],
}
record!(PinPrefix { service, client }, 20);

impl PinPrefix {
    /// Bits before the client's address.
    pub const SERVICE_BITS: u32 = 32;
    /// Bits of the whole.
    pub const BITS: u32 = 160;

    /// The key of a client of the service with index `service`.
    #[inline(always)]
    pub const fn new(service: u32, client: Address) -> Self {
        Self {
            service: service.to_be_bytes(),
            client: client.octets(),
        }
    }
}

/// What the clients of a prefix share.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// A hash of the key that stands in the place of the clients' addresses; meaningless with a backend.
    pub key: [u8; 16],
    /// Index of the backend that they are given to; 0 for none.
    pub backend: u32,
}
record!(Pin { key, backend }, 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_bits_that_it_says() {
        assert_eq!(PinPrefix::BITS as usize, 8 * size_of::<PinPrefix>());
        let prefix = PinPrefix::new(0x0102_0304, Address::v4([10, 1, 2, 3]));
        assert_eq!(prefix.service, [1, 2, 3, 4]);
        assert_eq!(prefix.client[12..], [10, 1, 2, 3]);
    }
}

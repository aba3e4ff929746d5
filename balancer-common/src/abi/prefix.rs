//! Clients of one prefix.

use super::{Address, record};

/// The part of a key behind the prefix length: a longest-prefix match on it finds what is said of a service's client.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientPrefix {
    /// The service's index, big-endian, all of whose bits always count.
    pub service: [u8; 4],
    /// The clients' address in network order, IPv4 in its mapped form.
    pub client: [u8; 16],
}
record!(ClientPrefix { service, client }, 20);

impl ClientPrefix {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_bits_that_it_says() {
        assert_eq!(ClientPrefix::BITS as usize, 8 * size_of::<ClientPrefix>());
        let prefix = ClientPrefix::new(0x0102_0304, Address::v4([10, 1, 2, 3]));
        assert_eq!(prefix.service, [1, 2, 3, 4]);
        assert_eq!(prefix.client[12..], [10, 1, 2, 3]);
    }
}

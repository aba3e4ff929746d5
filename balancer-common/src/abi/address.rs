//! IP addresses as both sides store and compare them.

use core::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::packet::Family;

/// An IPv4 or IPv6 address: 16 bytes in network order, IPv4 in its IPv4-mapped form (RFC 4291, 2.5.5.2).
///
/// The bytes live in two words so that the XDP program compares and hashes eight at a time; the words
/// hold the bytes as they lie in memory, so they have no meaning as numbers. Addresses are ordered by their bytes, IPv4
/// among the rest in its mapped form.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address {
    words: [u64; 2],
}

/// Bytes 8 to 11 of an IPv4-mapped address.
const MAPPED: u128 = u32::from_le_bytes([0, 0, 0xff, 0xff]) as u128;

impl Address {
    /// The unspecified IPv6 address, which no packet that is forwarded can carry.
    pub const UNSPECIFIED: Self = Self { words: [0, 0] };

    /// An IPv4 address from its four bytes in network order.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::from_little_endian((u32::from_le_bytes(octets) as u128) << 96 | MAPPED << 64)
    }

    /// An IPv6 address from its 16 bytes in network order.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self::from_little_endian(u128::from_le_bytes(octets))
    }

    /// What stands for two numbers where an address is expected: its first and its last eight bytes.
    #[inline(always)]
    pub(crate) const fn from_numbers(first: u64, last: u64) -> Self {
        Self {
            words: [first.to_be(), last.to_be()],
        }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        let [first, second] = self.words;
        first == 0 && second.to_le() as u32 == MAPPED as u32
    }

    /// Its IP version.
    #[inline(always)]
    pub const fn family(self) -> Family {
        if self.is_v4() { Family::V4 } else { Family::V6 }
    }

    /// The 16 bytes in network order.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let [first, second] = self.words;
        ((second.to_le() as u128) << 64 | first.to_le() as u128).to_le_bytes()
    }

    /// The last four bytes in network order: the whole of an IPv4 address.
    #[inline(always)]
    pub const fn v4_octets(self) -> [u8; 4] {
        ((self.words[1].to_le() >> 32) as u32).to_le_bytes()
    }

    // Not byte by byte: the compiler for BPF does not find the words again that bytes were taken from.
    #[inline(always)]
    const fn from_little_endian(number: u128) -> Self {
        Self {
            words: [(number as u64).to_le(), ((number >> 64) as u64).to_le()],
        }
    }

    /// The address with every bit cleared that is not set in `mask`.
    #[must_use]
    #[inline(always)]
    pub const fn masked(self, mask: Self) -> Self {
        let ([first, second], [first_mask, second_mask]) = (self.words, mask.words);
        Self {
            words: [first & first_mask, second & second_mask],
        }
    }

    /// The mask of the first `bits` bits, at most 128.
    pub const fn mask(bits: u32) -> Self {
        let ones = match 128_u32.checked_sub(bits) {
            Some(128) => 0,
            Some(rest) => u128::MAX << rest,
            None => u128::MAX,
        };
        Self::v6(ones.to_be_bytes())
    }

    /// The two words of eight bytes each, for hashing and checksums.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.words
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address.octets()),
            IpAddr::V6(address) => Self::v6(address.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4_octets()))
        } else {
            Self::V6(Ipv6Addr::from(address.octets()))
        }
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(&other.octets())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl core::fmt::Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["192.0.2.10", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address, "{text}");
            assert_eq!(Address::from(address).is_v4(), address.is_ipv4(), "{text}");
        }
    }

    #[test]
    fn memory_holds_network_order() {
        let address = Address::v4([192, 0, 2, 10]);
        assert_eq!(
            address.octets(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 10]
        );
        assert_eq!(address.v4_octets(), [192, 0, 2, 10]);

        let octets = core::array::from_fn(|index| index as u8);
        assert_eq!(Address::v6(octets).octets(), octets);
    }

    #[test]
    fn only_mapped_addresses_are_ipv4() {
        // Each differs from 192.0.2.10 in its mapped form by one bit in front of the four bytes.
        let mapped = Address::v4([192, 0, 2, 10]).octets();
        assert!(Address::v6(mapped).is_v4());
        for bit in 0..96 {
            let mut octets = mapped;
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(!Address::v6(octets).is_v4(), "{octets:x?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let texts = [
            "::",
            "::1",
            "9.0.0.0",
            "10.0.0.1",
            "10.0.1.0",
            "64:ff9b::1",
            "2001:db8::1",
            "2001:db8::100",
            "ff02::1",
        ];
        let addresses = texts.map(|text| Address::from(text.parse::<IpAddr>().unwrap()));
        assert!(addresses.is_sorted_by(|one, next| one < next), "{addresses:?}");
    }

    #[test]
    fn a_mask_keeps_the_first_bits() {
        let address = Address::v4([10, 1, 2, 255]);
        for (bits, masked) in [
            (128, [10, 1, 2, 255]),
            (127, [10, 1, 2, 254]),
            (112, [10, 1, 0, 0]),
            (96, [0; 4]),
        ] {
            assert_eq!(address.masked(Address::mask(bits)), Address::v4(masked), "{bits} bits");
        }
        assert_eq!(address.masked(Address::mask(0)), Address::UNSPECIFIED);
        assert_eq!(Address::mask(200), Address::mask(128));
    }
}

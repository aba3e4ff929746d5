//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use network_types::ip::Ipv4Hdr;

use crate::{
    abi::{Address, Port},
    packet::Family,
};

/// A sum of 16-bit words in one's complement, carried in more bits than it needs: what a packet's words sum up to takes 40, and up to
/// [`LIMIT`](Self::LIMIT) it can be folded.
///
/// Words are added as they lie in memory: the one's complement sum does not depend on the byte order as long as the
/// result is written the way the words were read (RFC 1071, 2B).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// No sum is as large.
    const LIMIT: u64 = 1 << 47;

    /// Adds a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn add_word(self, word: [u8; 2]) -> Self {
        Self(self.0 + u16::from_ne_bytes(word) as u64)
    }

    /// Adds what words that lie in memory sum up to, with any carries.
    #[inline(always)]
    #[must_use]
    pub const fn add_sum(self, sum: u32) -> Self {
        Self(self.0 + sum as u64)
    }

    /// Adds the four bytes of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn add_v4(self, octets: [u8; 4]) -> Self {
        Self(self.0 + u32::from_ne_bytes(octets) as u64)
    }

    /// Adds an address. An IPv4 address counts with its four bytes alone, as in a pseudo-header.
    #[inline(always)]
    #[must_use]
    pub const fn add_address(self, address: Address) -> Self {
        if address.is_v4() {
            return self.add_v4(address.v4_octets());
        }
        self.add_v6(address)
    }

    /// Adds the 16 bytes of an address, an IPv4 one's in its mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn add_v6(self, address: Address) -> Self {
        let [first, second] = address.words();
        Self(self.0 + halves(first) + halves(second))
    }

    /// Adds the words of an IPv4 header without options. With the checksum that it should have they sum up to all ones.
    #[inline(always)]
    #[must_use]
    pub const fn add_ipv4_header(self, header: &Ipv4Hdr) -> Self {
        self.add_word([header.vihl, header.tos])
            .add_word(header.tot_len)
            .add_word(header.id)
            .add_word(header.frags)
            .add_word([header.ttl, header.proto])
            .add_word(header.check)
            .add_v4(header.src_addr)
            .add_v4(header.dst_addr)
    }

    /// Adds bytes, the last of an odd number as if a zero followed (RFC 1071, 1).
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        let sum = words.iter().fold(self, |sum, &word| sum.add_word(word));
        match rest {
            [last] => sum.add_word([*last, 0]),
            _ => sum,
        }
    }

    /// The sum of two sums.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum of what a right checksum covers besides this, the checksum's own word among it: together they sum up to
    /// all ones.
    #[inline(always)]
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(!self.fold() as u64)
    }

    /// Folds the carries in: 16 bits, zero only if every word was zero.
    #[inline(always)]
    const fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }

    /// The checksum of what was added, as it is written into a header.
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }
}

#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// What the word with the TTL loses with a hop, and the checksum gains.
const ONE_HOP: [u8; 2] = [1, 0];

/// The checksum of an IPv4 header that was `old` before the TTL became one less: [`Update`] of that word, whatever else it has.
#[inline(always)]
pub const fn of_one_less_hop(old: [u8; 2]) -> [u8; 2] {
    const ONE: u32 = u16::from_ne_bytes(ONE_HOP) as u32;
    let sum = u16::from_ne_bytes(old) as u32 + ONE;
    // Equation 3 never comes to all ones.
    ((sum + (sum >= 0xffff) as u32) as u16).to_ne_bytes()
}

/// The change of a checksum when some of the words under it change (RFC 1624, equation 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Update {
    removed: Sum,
    added: Sum,
}

impl Update {
    /// No change.
    pub const NONE: Self = Self {
        removed: Sum::ZERO,
        added: Sum::ZERO,
    };

    /// One address replaced by another of either family.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: Address, new: Address) -> Self {
        Self {
            removed: self.removed.add_address(old),
            added: self.added.add_address(new),
        }
    }

    /// One address replaced by another, both of this family.
    #[inline(always)]
    #[must_use]
    pub const fn address_within(self, family: Family, old: Address, new: Address) -> Self {
        match family {
            Family::V4 => Self {
                removed: self.removed.add_v4(old.v4_octets()),
                added: self.added.add_v4(new.v4_octets()),
            },
            Family::V6 => Self {
                removed: self.removed.add_v6(old),
                added: self.added.add_v6(new),
            },
        }
    }

    /// A TTL, which is above zero, counted down by one, whatever else is in its word.
    #[inline(always)]
    #[must_use]
    pub const fn one_hop_less(self) -> Self {
        self.word(ONE_HOP, [0; 2])
    }

    /// One port, or any other 16-bit word, replaced by another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: Port, new: Port) -> Self {
        Self {
            removed: self.removed.add_word(old),
            added: self.added.add_word(new),
        }
    }

    /// This change and another one.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            removed: self.removed.plus(other.removed),
            added: self.added.plus(other.added),
        }
    }

    /// The sum that was `old` before the change.
    #[inline(always)]
    pub const fn apply_to(self, old: Sum) -> Sum {
        old.plus(self.removed.complement()).plus(self.added)
    }

    /// The checksum that was `old` before the change.
    #[inline(always)]
    pub const fn apply(self, old: [u8; 2]) -> [u8; 2] {
        /// A zero of the arithmetic that is larger than any sum of words in headers, so that one can be taken from it.
        const ZERO: u64 = 0xffff * (Sum::LIMIT >> 17);
        // ~(~HC + ~m + m'), where ~m of the sum of the old words is what it lacks to a zero.
        let sum = !u16::from_ne_bytes(old) as u64 + (ZERO - self.removed.0) + self.added.0;
        Sum(sum).checksum()
    }

    /// The UDP checksum that was `old` before the change. Zero means that there is none and stays; a checksum that comes
    /// out as zero is sent as all ones (RFC 768).
    #[inline(always)]
    pub const fn apply_udp(self, old: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(old) == 0 {
            return old;
        }
        let new = self.apply(old);
        if u16::from_ne_bytes(new) == 0 {
            [0xff, 0xff]
        } else {
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        // RFC 1071, 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.add_bytes(&bytes).checksum(), (!0xddf2_u16).to_be_bytes());
    }

    #[test]
    fn rfc_1624_example() {
        // RFC 1624, 4: HC dd2f, m 5555, m' 3285 gives 0000, where RFC 1141 would give ffff.
        let update = Update::NONE.word([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(update.apply([0xdd, 0x2f]), [0, 0]);
    }

    #[test]
    fn one_hop_less_is_the_update_of_its_word() {
        for ttl in [1, 2, 64, 128, 255] {
            for protocol in [0, 6, 17, 255] {
                let update = Update::NONE.word([ttl, protocol], [ttl - 1, protocol]);
                for old in (0..=u16::MAX).map(u16::to_be_bytes) {
                    assert_eq!(of_one_less_hop(old), update.apply(old), "{ttl} {protocol} {old:?}");
                    assert_eq!(
                        Update::NONE.one_hop_less().apply(old),
                        update.apply(old),
                        "{ttl} {protocol} {old:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        let update = Update::NONE.word([0, 1], [0, 2]);
        assert_eq!(update.apply_udp([0, 0]), [0, 0]);
        assert_eq!(
            Update::NONE.word([0x55, 0x55], [0x32, 0x85]).apply_udp([0xdd, 0x2f]),
            [0xff, 0xff]
        );
    }

    #[test]
    fn only_zeros_sum_up_to_zero() {
        assert_eq!(Sum::ZERO.checksum(), [0xff, 0xff]);
        assert_eq!(Sum::ZERO.add_bytes(&[0; 40]).checksum(), [0xff, 0xff]);
        for words in 1..40 {
            assert_eq!(
                Sum::ZERO.add_bytes(&vec![0xff; words * 2]).checksum(),
                [0, 0],
                "{words} words"
            );
        }
    }

    #[test]
    fn the_mapped_form_of_an_ipv4_address_is_not_summed_up() {
        assert_eq!(Sum::ZERO.add_address(Address::v4([0; 4])), Sum::ZERO);
    }

    #[test]
    fn every_carry_is_folded_in() {
        // The last leaves a carry in each round of folding.
        for sum in [
            0xffff,
            0x1_0000,
            0x1_ffff,
            0xffff_ffff,
            Sum::LIMIT - 1,
            0x0001_0000_ffff,
        ] {
            let expected = (sum - 1) % 0xffff + 1;
            assert_eq!(u64::from(Sum(sum).fold()), expected, "{sum:#x}");
        }
    }

    proptest! {
        #[test]
        fn folding_keeps_the_remainder(sum in 1..Sum::LIMIT) {
            prop_assert_eq!(u64::from(Sum(sum).fold()), (sum - 1) % 0xffff + 1);
        }

        #[test]
        fn an_address_counts_as_its_bytes_do(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) {
            let zero = Sum::ZERO;
            prop_assert_eq!(zero.add_address(Address::v4(v4)).checksum(), zero.add_bytes(&v4).checksum());
            prop_assert_eq!(zero.add_v4(v4).checksum(), zero.add_bytes(&v4).checksum());
            prop_assume!(!Address::v6(v6).is_v4());
            prop_assert_eq!(zero.add_address(Address::v6(v6)).checksum(), zero.add_bytes(&v6).checksum());
        }

        #[test]
        fn an_update_between_families_equals_a_new_sum(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) {
            prop_assume!(!Address::v6(v6).is_v4());
            let sum = |address: &[u8]| Sum::ZERO.add_word([0, 1]).add_bytes(address).checksum();
            let there = Update::NONE.address(Address::v4(v4), Address::v6(v6));
            let back = Update::NONE.address(Address::v6(v6), Address::v4(v4));
            prop_assert_eq!(there.apply(sum(&v4)), sum(&v6));
            prop_assert_eq!(back.apply(sum(&v6)), sum(&v4));
        }

        #[test]
        fn a_udp_checksum_neither_appears_nor_vanishes(old in any::<[u8; 2]>(), removed in any::<[u8; 2]>(), added in any::<[u8; 2]>()) {
            let new = Update::NONE.word(removed, added).apply_udp(old);
            prop_assert_eq!(new == [0, 0], old == [0, 0]);
        }

        #[test]
        fn an_update_equals_a_new_sum(
            rest in proptest::collection::vec(any::<u8>(), 0..64),
            old in any::<([u8; 16], [u8; 2])>(),
            new in any::<([u8; 16], [u8; 2])>(),
        ) {
            // A non-zero word keeps both sums from being the all-zero case, in which there are two zeros to choose from.
            let sum = |(address, port): ([u8; 16], [u8; 2])| {
                Sum::ZERO.add_word([0, 1]).add_bytes(&rest).add_bytes(&address).add_bytes(&port)
            };
            let update = Update::NONE.address(Address::v6(old.0), Address::v6(new.0)).word(old.1, new.1);
            prop_assume!(!Address::v6(old.0).is_v4() && !Address::v6(new.0).is_v4());
            prop_assert_eq!(update.apply(sum(old).checksum()), sum(new).checksum());
        }

        #[test]
        fn the_byte_order_of_the_host_does_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut sum = 0_u32;
            for pair in bytes.chunks(2) {
                sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            }
            while sum > 0xffff {
                sum = (sum >> 16) + (sum & 0xffff);
            }
            prop_assert_eq!(Sum::ZERO.add_bytes(&bytes).checksum(), (!(sum as u16)).to_be_bytes());
        }
    }
}

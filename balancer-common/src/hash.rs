//! Hashing of clients and endpoints.
//!
//! The functions are fixed: every balancer host with the same configuration must send the same client to the same
//! backend, whatever version it runs, so a change here moves clients.

use crate::abi::{Address, Port};

// Odd constants with about as many ones as zeros, from the fractional parts of the golden ratio and of the square
// roots of two, three and five.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ROOT_2: u64 = 0x6a09_e667_f3bc_c909;
const ROOT_3: u64 = 0xbb67_ae85_84ca_a73b;
const ROOT_5: u64 = 0x3c6e_f372_fe94_f82b;

/// Hashes an address, as two words, and something short about it, so that a change of any bit changes each bit of the
/// result about half the time.
#[inline(always)]
pub const fn words(address: [u64; 2], rest: u32) -> u64 {
    let [first, second] = address;
    let mut hash = fold((first ^ GOLDEN).wrapping_mul(ROOT_2));
    hash = fold((hash ^ second).wrapping_mul(ROOT_3));
    hash = fold((hash ^ rest as u64).wrapping_mul(ROOT_5));
    fold(hash.wrapping_mul(GOLDEN))
}

/// Hashes an address, as two words, and something short about it, for a table whose keys nobody chooses to do harm. The
/// three products are independent, so the CPU computes them at once; two inputs that differ in one of them only never
/// have the same hash, since what follows can be undone.
#[inline(always)]
pub const fn trusted_words(address: [u64; 2], rest: u32) -> u64 {
    let [first, second] = address;
    let sum = first
        .wrapping_mul(ROOT_2)
        .wrapping_add(second.wrapping_mul(ROOT_3))
        .wrapping_add((rest as u64).wrapping_mul(ROOT_5));
    fold(fold(sum).wrapping_mul(GOLDEN))
}

/// Hashes an address, as two words, in its upper bits alone and by as little as can be: the last two bytes of addresses that
/// differ in nothing else always make a difference there.
#[inline(always)]
pub const fn scattered(address: [u64; 2]) -> u64 {
    let [first, second] = address;
    first
        .to_le()
        .wrapping_mul(ROOT_3)
        .wrapping_add(second.to_le().wrapping_mul(ROOT_2))
}

/// [`scattered`] with something short about the address.
#[inline(always)]
pub const fn scattered_with(address: [u64; 2], rest: u32) -> u64 {
    scattered(address).wrapping_add((rest as u64).wrapping_mul(ROOT_5))
}

/// Hashes three words by a secret: who does not know it cannot choose words that have something of their hashes in common.
#[inline(always)]
pub const fn keyed(words: [u64; 3], secret: u64) -> u64 {
    let [first, second, third] = words;
    let mut hash = fold((first ^ secret).wrapping_mul(ROOT_2));
    hash = fold((hash ^ second).wrapping_add(secret).wrapping_mul(ROOT_3));
    hash = fold((hash ^ third).wrapping_mul(ROOT_5 ^ secret << 1));
    fold(hash.wrapping_mul(GOLDEN))
}

/// Brings the well-mixed upper half of a product into the lower one.
#[inline(always)]
const fn fold(product: u64) -> u64 {
    product ^ (product >> 32)
}

/// Hashes a client for the Maglev table. With [`ANY_PORT`](crate::abi::ANY_PORT) only the address counts.
#[inline(always)]
pub const fn client(address: Address, port: Port) -> u32 {
    let [first, second] = address.words();
    let words = words(
        [u64::from_be(first), u64::from_be(second)],
        u16::from_be_bytes(port) as u32,
    );
    (words >> 32) as u32
}

/// Another hash of the client with this one.
#[inline(always)]
pub const fn other(client: u32) -> u32 {
    (fold((client as u64 ^ ROOT_3).wrapping_mul(GOLDEN)).wrapping_mul(ROOT_2) >> 32) as u32
}

/// Scales a hash to `0..size` by multiplication and shift, which the verifier can bound and the CPU does in one step.
#[inline(always)]
pub const fn scale(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    /// Chi-squared over `cells` of what `hashes` count, with its mean (`cells - 1`) subtracted, in standard deviations.
    fn deviation(hashes: impl Iterator<Item = u32>, cells: u32) -> f64 {
        let mut counts = vec![0_u32; cells as usize];
        let mut total = 0_u32;
        for hash in hashes {
            counts[scale(hash, cells) as usize] += 1;
            total += 1;
        }
        let expected = f64::from(total) / f64::from(cells);
        let chi: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum();
        (chi - f64::from(cells - 1)) / (2.0 * f64::from(cells - 1)).sqrt()
    }

    #[test]
    fn neighbouring_clients_spread_evenly() {
        let base = u32::from_be_bytes([10, 0, 0, 0]);
        let addresses = (0..100_000_u32).map(|i| client(Address::v4((base + i).to_be_bytes()), [0, 0]));
        assert!(deviation(addresses, 101).abs() < 5.0);

        let ports = (1..=u16::MAX).map(|port| client(Address::v4([192, 0, 2, 1]), port.to_be_bytes()));
        assert!(deviation(ports, 101).abs() < 5.0);

        let v6 = (0..100_000_u128).map(|i| {
            let prefix = 0x2001_0db8_u128 << 96;
            client(Address::v6((prefix | (i << 64) | 1).to_be_bytes()), [0, 0])
        });
        assert!(deviation(v6, 101).abs() < 5.0);
    }

    #[test]
    fn every_input_bit_reaches_every_output_bit() {
        let samples = 2_000_u32;
        for bit in 0..160 {
            let mut flips = [0_u32; 64];
            for sample in (0..samples).map(u64::from) {
                let (first, second, rest) = (sample.wrapping_mul(ROOT_5), sample, (sample << 7) as u32);
                let mut changed = u128::from(first) | u128::from(second) << 64;
                let mut changed_rest = rest;
                if bit < 128 {
                    changed ^= 1 << bit;
                } else {
                    changed_rest ^= 1 << (bit - 128);
                }
                let difference =
                    words([first, second], rest) ^ words([changed as u64, (changed >> 64) as u64], changed_rest);
                for (position, count) in flips.iter_mut().enumerate() {
                    *count += (difference >> position & 1) as u32;
                }
            }
            for (position, &count) in flips.iter().enumerate() {
                let share = f64::from(count) / f64::from(samples);
                assert!(
                    (0.4..0.6).contains(&share),
                    "input bit {bit}, output bit {position}: {share}"
                );
            }
        }
    }

    /// Computed by an implementation in another language from the description of the function alone.
    #[test]
    fn the_same_client_has_the_same_hash_for_good() {
        for (address, port, expected) in [
            ("10.0.0.1", 0, 0xb4e8_d06e),
            ("10.0.0.1", 40_000, 0xc923_c5fa),
            ("192.0.2.255", 65_535, 0x0e63_70a9),
            ("2001:db8::1", 0, 0xae70_87b4),
            ("2001:db8::1", 443, 0x3045_0b65),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                client(address.into(), u16::to_be_bytes(port)),
                expected,
                "{address} {port}"
            );
        }
    }

    #[test]
    fn scale_gives_every_slot_its_share() {
        let size = 65_537_u64;
        // The least hash that falls on a slot.
        let least = |slot: u64| (slot << 32).div_ceil(size);
        for slot in 1..size {
            assert_eq!(u64::from(scale(least(slot) as u32, size as u32)), slot);
            assert_eq!(u64::from(scale((least(slot) - 1) as u32, size as u32)), slot - 1);
            assert!(
                (65_535..=65_536).contains(&(least(slot) - least(slot - 1))),
                "slot {slot}"
            );
        }
    }

    #[test]
    fn scale_stays_below_its_size() {
        for size in [1, 3, 65_537, u32::MAX] {
            assert_eq!(scale(0, size), 0);
            assert_eq!(scale(u32::MAX, size), size - 1);
        }
    }
}

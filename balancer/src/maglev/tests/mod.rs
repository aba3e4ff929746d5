mod properties;
mod quality;
mod vectors;

use std::collections::BTreeMap;

use balancer_common::abi::Address;

use super::{Candidate, TableSize};

fn size(slots: u32) -> TableSize {
    TableSize::new(slots).unwrap()
}

/// Backends at consecutive addresses, numbered from 1.
fn backends(weights: impl IntoIterator<Item = u32>) -> Vec<Candidate> {
    (1_u32..)
        .zip(weights)
        .map(|(number, weight)| Candidate {
            address: Address::v4((0x0a00_0000 + number).to_be_bytes()),
            port: 8080_u16.to_be_bytes(),
            weight,
            value: number,
            serves: true,
        })
        .collect()
}

/// How many slots each value has.
fn counts(table: &[u32]) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    for &value in table {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

#[test]
fn only_primes_are_table_sizes() {
    for prime in [2, 3, 7, 251, 4_099, 65_537, 655_373, 2_147_483_647] {
        assert_eq!(TableSize::new(prime).map(TableSize::slots), Some(prime));
    }
    for other in [0, 1, 4, 9, 65_536, 65_539 * 3, 65_521 * 3, 4_294_967_291] {
        assert_eq!(TableSize::new(other), None, "{other}");
    }
}

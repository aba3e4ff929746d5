//! Tables that a script in another language has built from the paper; see `tests/vectors/maglev.py`.

use std::net::IpAddr;

use serde::Deserialize;
use xxhash_rust::xxh64::xxh64;

use super::{counts, size};
use crate::maglev::{Candidate, build};

#[derive(Deserialize)]
struct Vector {
    name: String,
    backends: Vec<Backend>,
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Backend {
    address: IpAddr,
    port: u16,
    weight: u32,
    value: u32,
}

#[derive(Deserialize)]
struct Table {
    size: u32,
    xxh64_of_little_endian_slots: String,
    slots_per_backend: Vec<u32>,
    slots: Option<Vec<u32>>,
}

#[test]
fn tables_equal_those_of_an_independent_implementation() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../../../tests/vectors/maglev.json")).unwrap();
    for Vector { name, backends, tables } in vectors {
        let candidates: Vec<Candidate> = backends
            .iter()
            .map(|backend| Candidate {
                address: backend.address.into(),
                port: backend.port.to_be_bytes(),
                weight: backend.weight,
                value: backend.value,
                serves: true,
            })
            .collect();
        for expected in tables {
            let built = build(&candidates, size(expected.size));
            if let Some(slots) = expected.slots {
                assert_eq!(built, slots, "{name}, {}", expected.size);
            }

            let counts = counts(&built);
            let slots_per_backend: Vec<u32> = candidates
                .iter()
                .map(|candidate| counts.get(&candidate.value).copied().unwrap_or(0))
                .collect();
            assert_eq!(
                slots_per_backend, expected.slots_per_backend,
                "{name}, {}",
                expected.size
            );

            let bytes: Vec<u8> = built.iter().flat_map(|slot| slot.to_le_bytes()).collect();
            let digest = format!("{:016x}", xxh64(&bytes, 0));
            assert_eq!(
                digest, expected.xxh64_of_little_endian_slots,
                "{name}, {}",
                expected.size
            );
        }
    }
}

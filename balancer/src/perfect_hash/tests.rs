use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use balancer_common::abi::{Address, Role, protocol};
use proptest::{collection::vec, prelude::*, sample::Index};
use xxhash_rust::xxh64::xxh64;

use super::*;

/// The sizes that the data plane has by default.
const DEFAULT: Geometry = Geometry::of_bits(14, 16);

/// Small, so that buckets are reseeded and entries reused often.
const TINY: Geometry = Geometry::of_bits(2, 5);

fn service(address: u32, port: u16) -> EndpointKey {
    let address = Address::v4(Ipv4Addr::from_bits(address).octets());
    EndpointKey::new(Role::Service, address, port.to_be_bytes(), protocol::TCP)
}

fn scattered(number: u64) -> EndpointKey {
    let word = |seed| xxh64(&number.to_le_bytes(), seed);
    let address = Ipv6Addr::from_bits(u128::from(word(1)) << 64 | u128::from(word(2)));
    let [high, low, ..] = word(3).to_le_bytes();
    EndpointKey::new(Role::Backend, Address::v6(address.octets()), [high, low], protocol::UDP)
}

/// The arrays in the kernel.
#[derive(Clone)]
struct Kernel {
    seeds: Vec<u32>,
    entries: Vec<Endpoint>,
}

impl Kernel {
    fn new(geometry: Geometry) -> Self {
        Self {
            seeds: vec![EMPTY; geometry.buckets() as usize],
            entries: vec![Endpoint::default(); geometry.entries() as usize],
        }
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Entry { index, entry } => {
                let previous = mem::replace(&mut self.entries[index as usize], entry);
                assert!(
                    entry.key().is_some() || entry == previous.vacated(),
                    "a target goes with its key"
                );
            }
            Write::Seed { bucket, seed } => self.seeds[bucket as usize] = seed,
            Write::Barrier => {}
        }
    }

    /// What a packet finds that reads the seed here and the entry in `later`.
    fn read(&self, later: &Self, geometry: Geometry, key: &EndpointKey) -> Option<u32> {
        let hash = key.hash();
        let seed = self.seeds[geometry.bucket(hash) as usize];
        if seed == EMPTY {
            return None;
        }
        later.entries[geometry.entry(hash, seed) as usize].target_of(key)
    }
}

type Model = HashMap<EndpointKey, u32>;

/// A kernel under traffic. After every write it lets packets look up every key that have read the seed at any time since
/// the last barrier.
struct Traffic {
    geometry: Geometry,
    keys: Vec<EndpointKey>,
    kernel: Kernel,
    /// What the table should hold: before the change under way, and before each one that packets may have seen begin.
    models: Vec<Model>,
    /// The kernel since the last barrier, each with the first of `models` that a packet may go by which reads a seed
    /// then.
    since_barrier: Vec<(Kernel, usize)>,
}

impl Traffic {
    fn new(geometry: Geometry, keys: Vec<EndpointKey>) -> Self {
        let kernel = Kernel::new(geometry);
        Self {
            geometry,
            keys,
            since_barrier: vec![(kernel.clone(), 0)],
            kernel,
            models: vec![Model::new()],
        }
    }

    /// Makes a change that turns the present model into `after`.
    fn change(&mut self, writes: &[Write], after: Model) {
        let before = self.models.len() - 1;
        self.models.push(after);
        for &write in writes {
            if write == Write::Barrier {
                self.since_barrier = vec![(self.kernel.clone(), before)];
            } else {
                self.kernel.apply(write);
                self.check();
                self.since_barrier.push((self.kernel.clone(), before));
            }
        }
        if let Some((_, first)) = self.since_barrier.last_mut() {
            *first = before + 1;
        }
        self.check();
        let after = &self.models[before + 1];
        let mut keys = self.kernel.entries.iter().filter_map(Endpoint::key);
        assert!(
            keys.all(|key| after.contains_key(&key)),
            "a removed key could be found again"
        );
    }

    fn check(&self) {
        for (seen, first) in &self.since_barrier {
            for key in &self.keys {
                let found = seen.read(&self.kernel, self.geometry, key);
                let right = self.models[*first..]
                    .iter()
                    .any(|model| model.get(key).copied() == found);
                assert!(right, "{key:?} leads to {found:?}");
            }
            for (earlier, later) in seen.entries.iter().zip(&self.kernel.entries) {
                if let (Some(earlier), Some(later)) = (earlier.key(), later.key()) {
                    assert_eq!(earlier, later, "an entry changes its key before a barrier");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Index, u32),
    Remove(Index),
    Settle,
    /// The next operation ends after some of its writes, and another process takes over.
    Crash(Index),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (any::<Index>(), 1..100_u32).prop_map(|(key, target)| Operation::Insert(key, target)),
        5 => any::<Index>().prop_map(Operation::Remove),
        1 => Just(Operation::Settle),
        1 => any::<Index>().prop_map(Operation::Crash),
    ]
}

proptest! {
    #[test]
    fn at_every_moment_a_packet_finds_the_keys_that_are_there_and_no_others(
        numbers in vec(any::<u64>(), 14),
        operations in vec(operation(), 1..60),
    ) {
        let keys: Vec<EndpointKey> = numbers.into_iter().map(scattered).collect();
        let mut traffic = Traffic::new(TINY, keys.clone());
        let mut table = Table::new(TINY);
        let mut model = Model::new();
        let mut crash: Option<Index> = None;

        for operation in operations {
            let mut writes = match operation {
                Operation::Insert(key, target) => {
                    let key = *key.get(&keys);
                    model.insert(key, target);
                    table.insert(key, target).unwrap()
                }
                Operation::Remove(key) => {
                    let key = key.get(&keys);
                    model.remove(key);
                    table.remove(key)
                }
                Operation::Settle => table.settle(),
                Operation::Crash(at) => {
                    crash = Some(at);
                    continue;
                }
            };

            if let Some(at) = crash.take() {
                writes.truncate(at.index(writes.len() + 1));
                let mut left = traffic.kernel.clone();
                for write in &writes {
                    left.apply(*write);
                }
                let (adopted, cleanup) = Table::from_kernel(TINY, left.seeds, left.entries).unwrap();
                let before = traffic.models.last().unwrap();
                let survivors: Model = adopted.iter().collect();
                for key in &keys {
                    let survivor = survivors.get(key);
                    prop_assert!(survivor == before.get(key) || survivor == model.get(key), "{:?}", key);
                }
                table = adopted;
                model = survivors;
                writes.extend(cleanup);
            }

            traffic.change(&writes, model.clone());
            prop_assert_eq!(table.iter().collect::<Model>(), model.clone());
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(&table.seeds, &traffic.kernel.seeds);
            prop_assert_eq!(&table.entries, &traffic.kernel.entries);
        }
    }
}

/// Inserts `keys`, each with its number as target, into a table and a kernel, and checks that both have them and that the
/// kernel has none of `others`.
fn assert_holds(geometry: Geometry, keys: &[EndpointKey], others: &[EndpointKey]) -> Table {
    let mut table = Table::new(geometry);
    let mut kernel = Kernel::new(geometry);
    let mut barriers = 0;
    for (key, target) in keys.iter().zip(1..) {
        for write in table.insert(*key, target).unwrap() {
            kernel.apply(write);
            barriers += u32::from(write == Write::Barrier);
        }
    }
    println!(
        "{} keys in {} entries: {barriers} barriers",
        keys.len(),
        geometry.entries()
    );
    for (key, target) in keys.iter().zip(1..) {
        assert_eq!(kernel.read(&kernel, geometry, key), Some(target), "{key:?}");
        assert_eq!(table.get(key), Some(target), "{key:?}");
    }
    for key in others {
        assert_eq!(kernel.read(&kernel, geometry, key), None, "{key:?}");
    }
    assert_eq!(
        table.iter().map(|(key, _)| key).collect::<HashSet<_>>(),
        keys.iter().copied().collect()
    );
    table
}

#[test]
fn a_hundred_thousand_scattered_keys_are_found() {
    let geometry = Geometry::of_bits(16, 18);
    let keys: Vec<EndpointKey> = (0..200_000).map(scattered).collect();
    let (keys, others) = keys.split_at(100_000);
    assert_holds(geometry, keys, others);
}

#[test]
fn neighbouring_keys_are_found() {
    let vip = 0xc000_020a;
    let ports: Vec<EndpointKey> = (1..=10_000).map(|port| service(vip, port)).collect();
    let other_ports: Vec<EndpointKey> = (10_001..=20_000).map(|port| service(vip, port)).collect();
    let addresses: Vec<EndpointKey> = (1..=10_000).map(|offset| service(vip + offset, 443)).collect();
    assert_holds(DEFAULT, &ports, &[&addresses[..], &other_ports].concat());
    assert_holds(DEFAULT, &addresses, &[&ports[..], &other_ports].concat());
    assert_holds(DEFAULT, &[ports, addresses].concat(), &other_ports);
}

#[test]
fn a_table_takes_as_many_keys_as_it_has_room_for_and_no_more() {
    let keys: Vec<EndpointKey> = (0..32_768).map(scattered).collect();
    let mut table = assert_holds(DEFAULT, &keys, &[]);
    let refused = table.insert(scattered(32_768), 1);
    assert_eq!(refused, Err(Full { capacity: 32_768 }));

    assert!(table.insert(keys[0], 2).is_ok(), "a key that is there needs no room");
    table.remove(&keys[1]);
    assert!(table.insert(scattered(32_768), 1).is_ok());
}

#[test]
fn a_long_series_of_changes_takes_few_barriers() {
    let mut table = Table::new(DEFAULT);
    let mut barriers = 0;
    let mut count = |writes: Vec<Write>| barriers += writes.iter().filter(|write| **write == Write::Barrier).count();
    for number in 0..100_000_u64 {
        count(table.insert(scattered(number), 1).unwrap());
        if let Some(old) = number.checked_sub(30_000) {
            count(table.remove(&scattered(old)));
        }
    }
    assert!(barriers < 100, "{barriers} barriers");
}

#[test]
fn arrays_of_another_size_are_refused() {
    let kernel = Kernel::new(TINY);
    let refused = Table::from_kernel(DEFAULT, kernel.seeds, kernel.entries);
    assert_eq!(refused.err(), Some(WrongSize { seeds: 4, entries: 32 }));
}

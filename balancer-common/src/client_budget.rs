//! Token buckets of many clients in little memory.
//!
//! Buckets lie together in sets of four. A hash with a secret key says which set is a client's, and in its set the client has a
//! bucket of its own, under the whole hash: it never shares one. A client that has none in its set gets the place of the bucket that
//! will be full soonest; most of the time that one is full already, and to forget a full bucket changes nothing.
//!
//! - **Nobody is refused for what others do.** Who begins no more flows than its own rate allows gets all of them, whoever else is
//!   in the set: its bucket is either its own, or a full one.
//! - **What can be gained is bounded.** A client whose bucket is forgotten before it is full gets a full one. That takes three
//!   others in its set whose buckets are as empty, or emptier, and one more that comes: who has spent less than they is
//!   forgotten before it. Who sends as fast as it can empties its bucket and is the last to be forgotten.

use crate::{
    abi::{Address, record},
    hash,
    token_bucket::TokenBucket,
};

/// A client's bucket.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Budget {
    /// What the client is recognised by.
    pub client: u64,
    /// Its tokens.
    pub tokens: TokenBucket,
}

/// Buckets that lie together: a line of the CPU's cache. A record of zeroes is four full ones.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BudgetSet {
    /// The buckets.
    pub budgets: [Budget; 4],
}
record!(BudgetSet { budgets }, 64);

/// A client's place in its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which of the buckets.
    pub index: usize,
    /// Its tokens, or none if it has to begin with a full one.
    pub tokens: Option<TokenBucket>,
}

impl BudgetSet {
    /// The place of a client: its own if it has one, else that of the bucket that will be full soonest.
    #[inline(always)]
    pub fn place(&self, client: u64) -> Place {
        let mut index = 0;
        let mut soonest = u64::MAX;
        for (number, budget) in self.budgets.iter().enumerate() {
            if budget.client == client {
                return Place {
                    index: number,
                    tokens: Some(budget.tokens),
                };
            }
            if budget.tokens.bits() < soonest {
                soonest = budget.tokens.bits();
                index = number;
            }
        }
        Place { index, tokens: None }
    }
}

/// What a client of the service with index `service` is recognised by.
#[inline(always)]
pub const fn identify(service: u32, client: Address, key: [u64; 2]) -> u64 {
    let ([first, second], [one, other]) = (client.words(), key);
    hash::words([first ^ one, second ^ other], service)
}

/// Which of `sets` sets is the client's.
#[inline(always)]
pub const fn set_of(client: u64, sets: u32) -> u32 {
    hash::scale((client >> 32) as u32, sets)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::token_bucket::Rate;

    const RATE: Rate = Rate::per_second(1_000, 5);

    impl BudgetSet {
        /// Takes a token of a client's, as the data plane does.
        fn take(&mut self, client: u64, rate: Rate, now: u64) -> bool {
            let place = self.place(client);
            let Some(tokens) = place.tokens.unwrap_or_default().after_taking(rate, now) else {
                return false;
            };
            self.budgets[place.index] = Budget { client, tokens };
            true
        }
    }

    #[test]
    fn an_attacker_in_the_set_takes_nothing_from_an_honest_client_and_gets_no_more_than_its_own() {
        let mut set = BudgetSet::default();
        let (attacker, honest) = (1, 2);
        let (mut stolen, mut served) = (0, 0);
        // Ten seconds in which the attacker never stops.
        for now in (0..10_000_000_000).step_by(100_000) {
            stolen += u64::from(set.take(attacker, RATE, now));
            if now % 2_000_000 == 0 {
                assert!(set.take(honest, RATE, now), "at {now}");
                served += 1;
            }
        }
        assert_eq!(served, 5_000);
        assert!((10_000..=10_005).contains(&stolen), "{stolen}");
    }

    #[test]
    fn a_flood_from_ever_new_sources_does_not_refill_who_has_spent_all() {
        let mut set = BudgetSet::default();
        let attacker = u64::MAX;
        while set.take(attacker, RATE, 0) {}
        for newcomer in 0..100_000 {
            assert!(set.take(newcomer, RATE, 0), "{newcomer}");
            assert!(!set.take(attacker, RATE, 0));
        }
    }

    #[test]
    fn who_returns_to_a_full_bucket_has_lost_nothing() {
        let mut set = BudgetSet::default();
        for round in 0..100_u64 {
            let now = round * 1_000_000_000;
            for client in 1..=9 {
                let later = now + client * 10_000_000;
                let taken = (0..20).filter(|_| set.take(client, RATE, later)).count();
                assert_eq!(taken, 5, "client {client} in round {round}");
            }
        }
    }

    #[test]
    fn clients_of_services_spread_over_the_sets_and_nobody_knows_how_without_the_key() {
        const SETS: u32 = 1_024;
        let clients = |key| -> Vec<u64> {
            (0..20_000_u32)
                .map(|number| identify(number % 3, Address::v4((number / 3).to_be_bytes()), key))
                .collect()
        };
        let one = clients([1, 2]);
        assert_eq!(
            one.iter().collect::<HashSet<_>>().len(),
            one.len(),
            "no two are taken for one"
        );
        let mut sizes = HashMap::new();
        for &client in &one {
            *sizes.entry(set_of(client, SETS)).or_insert(0_u32) += 1;
        }
        assert!(sizes.len() > 1_000);
        assert!(sizes.values().all(|&size| size < 60));
        for key in [[3, 2], [1, 3]] {
            let other = clients(key);
            let together = one.iter().zip(&other);
            let same = together.filter(|&(&a, &b)| set_of(a, SETS) == set_of(b, SETS)).count();
            assert!(same < 60, "{same}");
        }
    }

    proptest! {
        #[test]
        fn who_keeps_to_its_rate_is_never_refused(
            packets in proptest::collection::vec((0_u64..12, 0..400_000_u64), 1..600),
        ) {
            const GREEDY: u64 = 4;
            let mut set = BudgetSet::default();
            let mut alone: HashMap<u64, TokenBucket> = HashMap::new();
            let mut now = 0;
            for (client, pause) in packets {
                now += pause;
                if client < GREEDY {
                    set.take(client, RATE, now);
                } else if alone.entry(client).or_default().take(RATE, now) {
                    prop_assert!(set.take(client, RATE, now), "client {} at {}", client, now);
                }
            }
        }

        #[test]
        fn up_to_four_clients_get_exactly_what_each_would_alone(
            packets in proptest::collection::vec((0_u64..4, 0..400_000_u64), 1..600),
        ) {
            let mut set = BudgetSet::default();
            let mut alone: HashMap<u64, TokenBucket> = HashMap::new();
            let mut now = 0;
            for (client, pause) in packets {
                now += pause;
                let expected = alone.entry(client).or_default().take(RATE, now);
                prop_assert_eq!(set.take(client, RATE, now), expected, "client {} at {}", client, now);
            }
        }
    }
}

//! Which addresses mean nothing to the data plane: the writing side of [`balancer_common::strangers`].

use balancer_common::{
    abi::EndpointKey,
    strangers::{NO_BACKEND, NO_VIP, PLACES, absence, place},
};

/// The table, and how many endpoints keep each of its bits from being set.
#[derive(Clone, Debug)]
pub(crate) struct Strangers {
    said: Box<[u8; PLACES]>,
    vips: Vec<u32>,
    backends: Vec<u32>,
}

impl Default for Strangers {
    /// Where there are no endpoints.
    fn default() -> Self {
        Self {
            said: Box::new([NO_VIP | NO_BACKEND; PLACES]),
            vips: vec![0; PLACES],
            backends: vec![0; PLACES],
        }
    }
}

impl FromIterator<EndpointKey> for Strangers {
    fn from_iter<I: IntoIterator<Item = EndpointKey>>(keys: I) -> Self {
        let mut strangers = Self::default();
        for key in keys {
            strangers.meet(&key);
        }
        strangers
    }
}

impl Strangers {
    /// What the program is told. It has to be told before an endpoint is there, and need not be when one is gone.
    pub(crate) const fn table(&self) -> &[u8; PLACES] {
        &self.said
    }

    /// Takes an endpoint into account that comes. Returns whether that changes the table.
    pub(crate) fn meet(&mut self, key: &EndpointKey) -> bool {
        self.change(key, |count| *count += 1)
    }

    /// Takes into account that an endpoint has gone that was [met](Self::meet). Returns whether that changes the table.
    pub(crate) fn forget(&mut self, key: &EndpointKey) -> bool {
        self.change(key, |count| *count -= 1)
    }

    fn change(&mut self, key: &EndpointKey, change: impl FnOnce(&mut u32)) -> bool {
        let (place, bit) = (place(key.address), key.role().map_or(0, absence));
        let count = match bit {
            NO_VIP => &mut self.vips[place],
            NO_BACKEND => &mut self.backends[place],
            _ => return false,
        };
        change(count);
        let before = self.said[place];
        self.said[place] = if *count == 0 { before | bit } else { before & !bit };
        self.said[place] != before
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use balancer_common::abi::{Address, Role};
    use proptest::prelude::*;

    use super::*;

    /// Endpoints of few addresses, so that some share one, and some a place.
    fn keys() -> impl Strategy<Value = EndpointKey> {
        const ROLES: [Role; 4] = [Role::Service, Role::Backend, Role::Vip, Role::Server];
        (prop::sample::select(&ROLES[..]), 0..40_u8, 0..3_u8, any::<bool>()).prop_map(|(role, host, port, v4)| {
            let address = if v4 {
                Address::v4([10, 0, host, 1])
            } else {
                Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host, 1])
            };
            EndpointKey::new(role, address, [0, port], 6)
        })
    }

    proptest! {
        #[test]
        fn nobody_who_is_there_is_a_stranger(steps in prop::collection::vec((any::<bool>(), keys()), 0..200)) {
            let (mut strangers, mut present) = (Strangers::default(), HashSet::new());
            for (comes, key) in steps {
                let before = *strangers.table();
                let told = match comes {
                    true if present.insert(key) => strangers.meet(&key),
                    false if present.remove(&key) => strangers.forget(&key),
                    _ => continue,
                };
                prop_assert_eq!(told, before != *strangers.table());
                for key in &present {
                    let absence = key.role().map_or(0, absence);
                    prop_assert_eq!(strangers.table()[place(key.address)] & absence, 0, "{:?}", key);
                }
            }
            let anew: Strangers = present.iter().copied().collect();
            prop_assert_eq!(strangers.table(), anew.table());
            for key in present {
                strangers.forget(&key);
            }
            prop_assert_eq!(strangers.table(), &[NO_VIP | NO_BACKEND; PLACES]);
        }
    }

    #[test]
    fn hosts_of_a_network_are_told_apart() {
        let places: HashSet<usize> = (0..=255).map(|host| place(Address::v4([10, 2, 3, host]))).collect();
        assert_eq!(places.len(), 256);
        let places: HashSet<usize> = (0..=255)
            .map(|host| place(Address::v6([0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])))
            .collect();
        assert_eq!(places.len(), 256);
    }
}

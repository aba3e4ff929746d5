//! Which endpoints have a place of their own: the writing side of [`balancer_common::shortcuts`].

use std::collections::HashMap;

use balancer_common::{
    abi::{Endpoint, EndpointKey},
    shortcuts::place,
};

/// What stands at a place from now on.
pub(crate) type Write = (u32, Endpoint);

/// The places that are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortcuts {
    by_place: HashMap<u32, Place>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Taken(EndpointKey),
    /// Packets may still be comparing the key that was there.
    Left,
}

impl Shortcuts {
    /// The shortcuts of a data plane that has some already, to `endpoints`, and what has to be written for that.
    pub(crate) fn take_over(
        present: impl IntoIterator<Item = Write>,
        endpoints: &HashMap<EndpointKey, u32>,
    ) -> (Self, Vec<Write>) {
        let mut shortcuts = Self::default();
        let mut writes = Vec::new();
        for (at, endpoint) in present {
            let Some(key) = endpoint.key() else { continue };
            if endpoints
                .get(&key)
                .is_some_and(|&target| endpoint == Endpoint::new(key, target))
                && place(&key) == at
            {
                shortcuts.by_place.insert(at, Place::Taken(key));
            } else {
                shortcuts.by_place.insert(at, Place::Left);
                writes.push((at, endpoint.vacated()));
            }
        }
        for (key, target) in endpoints {
            writes.extend(shortcuts.bind(key, *target));
        }
        (shortcuts, writes)
    }

    /// Gives an endpoint its place, if it is free. To be written after the endpoint can be found otherwise.
    pub(crate) fn bind(&mut self, key: &EndpointKey, target: u32) -> Option<Write> {
        let at = place(key);
        match self.by_place.entry(at).or_insert(Place::Taken(*key)) {
            Place::Taken(owner) if owner == key => Some((at, Endpoint::new(*key, target))),
            Place::Taken(_) | Place::Left => None,
        }
    }

    /// Takes the place of an endpoint that goes away, which leads to `target`, if it has one. To be written before the endpoint
    /// cannot be found otherwise.
    pub(crate) fn unbind(&mut self, key: &EndpointKey, target: u32) -> Option<Write> {
        let at = place(key);
        let owner = self.by_place.get_mut(&at)?;
        if !matches!(owner, Place::Taken(owner) if owner == key) {
            return None;
        }
        *owner = Place::Left;
        Some((at, Endpoint::new(*key, target).vacated()))
    }

    /// Makes places free again that have been left. No packet may be underway that was there before.
    pub(crate) fn settle(&mut self) {
        self.by_place.retain(|_, place| matches!(place, Place::Taken(_)));
    }
}

#[cfg(test)]
mod tests {
    use balancer_common::abi::{Address, Role};
    use proptest::prelude::*;

    use super::*;

    /// Few enough ports that some share a place.
    fn key(port: u16) -> EndpointKey {
        EndpointKey::new(Role::Service, Address::v4([192, 0, 2, 1]), port.to_be_bytes(), 6)
    }

    /// Two keys with one place.
    fn rivals() -> [EndpointKey; 2] {
        let mut seen = HashMap::new();
        for host in 0..u32::MAX {
            let key = EndpointKey::new(Role::Service, Address::v4(host.to_be_bytes()), [0, 80], 6);
            if let Some(other) = seen.insert(place(&key), key) {
                return [other, key];
            }
        }
        unreachable!("there are more addresses than places")
    }

    #[test]
    fn the_first_one_keeps_its_place_until_it_has_left_and_nobody_looks_there_any_more() {
        let [one, other] = rivals();
        let mut shortcuts = Shortcuts::default();
        let at = place(&one);
        assert_eq!(shortcuts.bind(&one, 1), Some((at, Endpoint::new(one, 1))));
        assert_eq!(shortcuts.bind(&other, 2), None);
        assert_eq!(
            shortcuts.bind(&one, 3),
            Some((at, Endpoint::new(one, 3))),
            "another target"
        );
        assert_eq!(shortcuts.unbind(&other, 2), None);
        assert_eq!(shortcuts.unbind(&one, 3), Some((at, Endpoint::new(one, 3).vacated())));
        assert_eq!(shortcuts.bind(&other, 2), None, "somebody may still be comparing");
        shortcuts.settle();
        assert_eq!(shortcuts.bind(&other, 2), Some((at, Endpoint::new(other, 2))));
    }

    proptest! {
        #[test]
        fn nothing_leads_where_no_endpoint_is(
            steps in prop::collection::vec((0_u16..2_000, 1_u32..4, 0_u8..4), 0..300),
        ) {
            let mut table: HashMap<u32, Endpoint> = HashMap::new();
            let mut endpoints = HashMap::new();
            let mut shortcuts = Shortcuts::default();
            for (port, target, kind) in steps {
                let key = key(port);
                let write = match kind {
                    0 => match endpoints.remove(&key) {
                        Some(target) => shortcuts.unbind(&key, target),
                        None => None,
                    },
                    1 => {
                        let (anew, writes) = Shortcuts::take_over(table.clone(), &endpoints);
                        shortcuts = anew;
                        table.extend(writes);
                        shortcuts.settle();
                        None
                    }
                    _ => {
                        endpoints.insert(key, target);
                        shortcuts.bind(&key, target)
                    }
                };
                table.extend(write);
                for (at, endpoint) in &table {
                    if let Some(key) = endpoint.key() {
                        prop_assert_eq!(place(&key), *at);
                        prop_assert_eq!(endpoint.target_of(&key), endpoints.get(&key).copied());
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_crash_has_left_is_put_right() {
        let (here, gone, moved) = (key(1), key(2), key(3));
        let endpoints = HashMap::from([(here, 1), (moved, 3)]);
        let present = [
            (place(&gone), Endpoint::new(gone, 2)),
            (place(&moved), Endpoint::new(moved, 7)),
        ];
        let (mut shortcuts, writes) = Shortcuts::take_over(present, &endpoints);
        let writes: HashMap<_, _> = writes.into_iter().collect();
        let expected = [
            (place(&here), Endpoint::new(here, 1)),
            (place(&gone), Endpoint::new(gone, 2).vacated()),
            (place(&moved), Endpoint::new(moved, 7).vacated()),
        ];
        assert_eq!(writes, HashMap::from(expected));
        shortcuts.settle();
        assert!(shortcuts.bind(&moved, 3).is_some());
    }
}

//! Slots whose backend does not serve.
//!
//! Another one stands in ([`Circle`]). So a backend that fails or comes back moves the clients of its own slots and nobody else,
//! whoever is down besides it and in whatever order they went. Packets find it by themselves until the table says it.

use balancer_common::stand_in::Circle;

/// Gives each slot whose owner is among `absent` to who stands in. If nobody does, no slot has an owner, which is 0.
///
/// `size` is the length of `table`.
pub(super) fn stand_in(table: &mut [u32], size: u32, absent: &[u32]) {
    let Some(last) = absent.iter().max() else {
        return;
    };
    let mut marks = vec![false; *last as usize + 1];
    for value in absent {
        marks[*value as usize] = true;
    }
    let is_absent = |value: u32| marks.get(value as usize).copied().unwrap_or(false);

    let circle = Circle::of(size);
    let slots = (0..circle.places()).filter_map(|place| circle.slot_at(place));
    // After the last place comes the first.
    let mut owners = slots.clone().map(|slot| table[slot as usize]);
    let mut next = owners.find(|&owner| !is_absent(owner)).unwrap_or(0);
    for slot in slots.rev() {
        let owner = &mut table[slot as usize];
        if is_absent(*owner) {
            *owner = next;
        } else {
            next = *owner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_on_the_circle_stands_in() {
        let table = [3, 1, 2, 2, 1, 4, 2];
        let circle = Circle::of(7);
        for absent in [&[][..], &[9], &[1], &[2], &[2, 3], &[4, 2, 3]] {
            let mut found = table;
            stand_in(&mut found, 7, absent);
            for (slot, value) in (0..).zip(found) {
                let places = circle.place_of(slot)..;
                let mut owners = places.filter_map(|place| Some(table[circle.slot_at(place)? as usize]));
                let expected = owners.find(|owner| !absent.contains(owner));
                assert_eq!(Some(value), expected, "{slot} without {absent:?}");
            }
        }
    }

    #[test]
    fn where_nobody_serves_nobody_stands_in() {
        let mut table = [3, 1, 2];
        stand_in(&mut table, 3, &[3, 2, 1]);
        assert_eq!(table, [0; 3]);
    }
}

//! Which slots of a Maglev table are asked, one after the other, when the backend of one does not serve.
//!
//! The slots stand on a circle in an order that looks like chance and follows from their number alone. The first one after a slot
//! whose backend serves stands in for it. So it does not matter who failed first; and since neighbours on the circle have nothing
//! in common, those who stand in share evenly.

const FACTORS: [u32; 2] = [0x9e37_79b1, 0x85eb_ca77];
const INVERSES: [u32; 2] = [inverse(FACTORS[0]), inverse(FACTORS[1])];

/// The circle on which the slots of a table stand.
#[derive(Clone, Copy, Debug)]
pub struct Circle {
    slots: u32,
    bits: u32,
}

impl Circle {
    /// The circle of a table with so many slots, at most 2³¹.
    #[inline(always)]
    pub const fn of(slots: u32) -> Self {
        let bits = u32::BITS - slots.saturating_sub(1).leading_zeros();
        Self {
            slots,
            bits: if bits == 0 { 1 } else { bits },
        }
    }

    /// How many places there are: a power of two, at most two for each slot.
    #[inline(always)]
    pub const fn places(self) -> u32 {
        1 << self.bits
    }

    /// The place of a slot.
    #[inline(always)]
    pub const fn place_of(self, slot: u32) -> u32 {
        self.turn(self.turn(slot, INVERSES[1]), INVERSES[0])
    }

    /// The slot at a place, counted around the circle; some are empty.
    #[inline(always)]
    pub const fn slot_at(self, place: u32) -> Option<u32> {
        let slot = self.turn(self.turn(place & (self.places() - 1), FACTORS[0]), FACTORS[1]);
        if slot < self.slots { Some(slot) } else { None }
    }

    /// Undone by the factor's inverse.
    #[inline(always)]
    const fn turn(self, number: u32, factor: u32) -> u32 {
        let half = self.bits.div_ceil(2);
        let product = (number ^ (number >> half)).wrapping_mul(factor) & (self.places() - 1);
        product ^ (product >> half)
    }
}

/// What an odd number is to be multiplied with for 1, modulo 2³² (Newton's method: each step doubles the bits that are right).
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        for slots in [1, 2, 3, 7, 251, 4_099, 65_537, 655_373] {
            let circle = Circle::of(slots);
            assert!(circle.places() <= 2 * slots);
            let mut found: Vec<u32> = (0..circle.places()).filter_map(|place| circle.slot_at(place)).collect();
            found.sort_unstable();
            assert_eq!(found, (0..slots).collect::<Vec<_>>());
            for slot in 0..slots {
                let place = circle.place_of(slot);
                assert_eq!(circle.slot_at(place), Some(slot));
                assert_eq!(circle.slot_at(place + circle.places()), Some(slot), "once around");
            }
        }
    }

    /// Whoever changes the order moves the clients of backends that are down.
    #[test]
    fn the_order_stays_as_it_is() {
        let circle = Circle::of(251);
        let order: Vec<u32> = (0..8).filter_map(|place| circle.slot_at(place)).collect();
        assert_eq!(order, [0, 67, 134, 216, 29, 101, 160]);
    }
}

//! Who may use a service.

/// One of two sets of source lists. A service's record says which of them counts, so that all of a new set comes to count by
/// one write, whatever its size.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// The first, the third and so on.
    Odd = 0,
    /// The second, the fourth and so on.
    Even = 1,
}

impl Generation {
    /// The one that comes next.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Odd => Self::Even,
            Self::Even => Self::Odd,
        }
    }
}

/// Whether the clients of a prefix may use a service, under each [`Generation`] of its source lists.
///
/// A prefix that only one of the sets names has under the other one what the longest prefix that covers it has there, so it
/// changes nothing that it is there.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// A bit for each generation.
    allowed: u32,
}

// SAFETY: the record is an integer.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Access {}

impl Access {
    /// The same under both generations.
    pub const fn always(allowed: bool) -> Self {
        Self {
            allowed: if allowed { 0b11 } else { 0 },
        }
    }

    /// The same with another answer under one generation.
    #[must_use]
    pub const fn with(self, generation: Generation, allowed: bool) -> Self {
        let bit = 1 << generation as u32;
        Self {
            allowed: if allowed {
                self.allowed | bit
            } else {
                self.allowed & !bit
            },
        }
    }

    /// Whether they may under the given generation.
    #[inline(always)]
    pub const fn allows(self, generation: Generation) -> bool {
        self.allowed >> generation as u32 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_has_an_answer_of_its_own() {
        for odd in [false, true] {
            for even in [false, true] {
                let access = Access::always(odd).with(Generation::Even, even);
                assert_eq!(access.allows(Generation::Odd), odd);
                assert_eq!(access.allows(Generation::Even), even);
            }
        }
    }

    #[test]
    fn generations_take_turns() {
        for generation in [Generation::Odd, Generation::Even] {
            assert_ne!(generation.next(), generation);
            assert_eq!(generation.next().next(), generation);
        }
    }
}

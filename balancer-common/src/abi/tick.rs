//! The data plane's clock.

/// A moment, counted in units of 64 timer ticks of the kernel (a quarter of a second at 250 Hz, 64 ms at 1000 Hz).
///
/// Reading the kernel's tick counter costs the program one load, where any other clock costs a call. The count wraps
/// after more than eight years, so only differences have a meaning.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tick(u32);

impl Tick {
    /// Timer ticks of the kernel in one unit, as a power of two.
    pub const SHIFT: u32 = 6;

    /// The moment at which the kernel's tick counter shows `jiffies`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the count wraps")]
    pub const fn from_jiffies(jiffies: u64) -> Self {
        Self((jiffies >> Self::SHIFT) as u32)
    }

    /// The moment with the given count.
    pub const fn from_bits(count: u32) -> Self {
        Self(count)
    }

    /// The count.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Units from `earlier` to this moment. A moment that another CPU noted just after this one was read is no time ago,
    /// not an age ago.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let difference = self.0.wrapping_sub(earlier.0);
        if difference >> 31 == 0 { difference } else { 0 }
    }

    /// The moment this many units before.
    #[must_use]
    pub const fn before(self, units: u32) -> Self {
        Self(self.0.wrapping_sub(units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap_and_never_turn_into_ages() {
        let moment = Tick::from_jiffies(10 << Tick::SHIFT);
        assert_eq!(Tick::from_jiffies((12 << Tick::SHIFT) + 63).since(moment), 2);
        assert_eq!(moment.since(Tick::from_jiffies(u64::MAX)), 11);
        assert_eq!(moment.since(Tick::from_jiffies(11 << Tick::SHIFT)), 0);
        assert_eq!(moment.since(moment), 0);
        assert_eq!(moment.since(moment.before(12)), 12);
    }
}

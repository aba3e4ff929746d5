//! How often something may happen.

/// A rate that may be exceeded for a moment.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Nanoseconds in which one token comes in.
    pub interval: u64,
    /// Tokens that there is room for: what may happen at once after a pause.
    pub burst: u64,
}

impl Rate {
    /// No limit: every bucket has a token.
    pub const UNLIMITED: Self = Self { interval: 0, burst: 0 };

    /// So many a second, and so many at once.
    pub const fn per_second(tokens: u64, burst: u64) -> Self {
        Self {
            interval: 1_000_000_000 / tokens,
            burst,
        }
    }
}

/// A bucket that tokens come into at a steady rate, and from which each event takes one.
///
/// It is kept as one moment, that at which all tokens taken so far will have come in again (the generic cell rate algorithm,
/// ITU-T I.371). A record of zeroes is a full bucket.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenBucket {
    full_again: u64,
}

// SAFETY: the bucket is an integer.
#[cfg(feature = "user")]
unsafe impl aya::Pod for TokenBucket {}

impl TokenBucket {
    /// The bucket with this word.
    #[inline(always)]
    pub const fn from_bits(full_again: u64) -> Self {
        Self { full_again }
    }

    /// The word that stands for it. Of two buckets, the one with the lower word is full sooner.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.full_again
    }

    /// The bucket after a token was taken at the time `now`, in nanoseconds of a clock that never goes back. `None` if there is none.
    ///
    /// A bucket that is emptier than it can be at this rate, since another rate has held before, counts as full.
    #[inline(always)]
    pub const fn after_taking(self, rate: Rate, now: u64) -> Option<Self> {
        /// How much later than this CPU's another one's time may be, in nanoseconds; far more than it is.
        const AHEAD: u64 = 1_000_000_000;
        let room = rate.burst * rate.interval;
        let before = if self.full_again < now || self.full_again > now + room + AHEAD {
            now
        } else {
            self.full_again
        };
        let after = before + rate.interval;
        if after - now > room {
            return None;
        }
        Some(Self { full_again: after })
    }

    /// Takes a token at the time `now`, as [`after_taking`](Self::after_taking) has it. Returns whether there was one.
    #[inline(always)]
    pub const fn take(&mut self, rate: Rate, now: u64) -> bool {
        match self.after_taking(rate, now) {
            Some(after) => {
                *self = after;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::per_second(1_000, 50);

    #[test]
    fn a_new_bucket_holds_a_burst_and_no_more() {
        for now in [0, 1, 1 << 40] {
            let mut bucket = TokenBucket::default();
            let taken = (0..1_000).filter(|_| bucket.take(RATE, now)).count();
            assert_eq!(taken, 50, "at {now}");
        }
    }

    #[test]
    fn an_empty_bucket_gets_a_token_an_interval() {
        let mut bucket = TokenBucket::default();
        while bucket.take(RATE, 0) {}
        assert!(!bucket.take(RATE, RATE.interval - 1));
        assert!(bucket.take(RATE, RATE.interval));
        assert!(!bucket.take(RATE, 2 * RATE.interval - 1));
        assert!(bucket.take(RATE, 2 * RATE.interval));
    }

    #[test]
    fn a_pause_fills_the_bucket_up_to_a_burst() {
        let mut bucket = TokenBucket::default();
        while bucket.take(RATE, 0) {}
        let later = 1_000 * RATE.interval;
        let taken = (0..1_000).filter(|_| bucket.take(RATE, later)).count();
        assert_eq!(taken, 50);
    }

    #[test]
    fn without_a_limit_there_is_always_a_token() {
        let mut bucket = TokenBucket::default();
        assert!((0..1_000).all(|_| bucket.take(Rate::UNLIMITED, 5)));
    }

    #[test]
    fn a_bucket_that_another_rate_has_emptied_is_full_at_the_new_one() {
        let slow = Rate::per_second(1, 1_000);
        let mut bucket = TokenBucket::default();
        while bucket.take(slow, 0) {}
        let taken = (0..1_000).filter(|_| bucket.take(RATE, 0)).count();
        assert_eq!(taken, 50);
    }

    #[test]
    fn a_cpu_that_is_late_finds_an_empty_bucket_empty() {
        let mut bucket = TokenBucket::default();
        while bucket.take(RATE, 10_000_000) {}
        assert!((0..10_000_000).step_by(100_000).all(|late| !bucket.take(RATE, late)));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_a_counter_of_tokens_has(pauses in proptest::collection::vec(0..5_000_000_u64, 1..300)) {
            let mut bucket = TokenBucket::default();
            // In billionths of a token.
            let one = RATE.interval;
            let (mut tokens, mut now) = (RATE.burst * one, 0);
            for pause in pauses {
                now += pause;
                tokens = (tokens + pause).min(RATE.burst * one);
                let expected = tokens >= one;
                prop_assert_eq!(bucket.take(RATE, now), expected);
                if expected {
                    tokens -= one;
                }
            }
        }
    }
}

//! What is remembered of the first fragment of a packet, which alone shows the ports.

use super::{Address, record};
use crate::packet::Ports;

/// What the fragments of one packet have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentKey {
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// What the sender tells its packets apart by.
    pub identification: u32,
    /// The number that identifications are given out for, as in [`Fragment`](crate::packet::Fragment).
    pub protocol: u32,
}
record!(
    FragmentKey {
        source,
        destination,
        identification,
        protocol
    },
    40
);

/// What the first fragment shows of its packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstFragment {
    /// The ports.
    pub ports: Ports,
    /// The IP protocol number of the transport.
    pub protocol: u32,
    /// When it was seen, in seconds of the kernel's monotonic clock.
    pub seen: u32,
}
record!(FirstFragment { ports, protocol, seen }, 12);

impl FirstFragment {
    /// Seconds for which later fragments may follow. Receivers wait as long for them (Linux; RFC 1122, 3.3.2 and RFC 8200, 4.5
    /// say 60 at most), and senders may use an identification again after that.
    pub const LIFETIME: u32 = 30;

    /// Whether a fragment that comes at the time `now` may be one of the same packet.
    #[inline(always)]
    pub const fn is_recent(&self, now: u32) -> bool {
        now.saturating_sub(self.seen) <= Self::LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_fragments_may_follow_for_a_while() {
        let first = FirstFragment {
            ports: Ports::NONE,
            protocol: 17,
            seen: 1_000,
        };
        // Clocks of CPUs may be a tick apart.
        for (now, expected) in [(999, true), (1_000, true), (1_030, true), (1_031, false)] {
            assert_eq!(first.is_recent(now), expected, "{now}");
        }
    }
}

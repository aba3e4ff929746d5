//! How long the data plane remembers what, and what a remembered backend still means. Pure decisions.

mod identity;

pub use identity::Identity;

use crate::abi::{BackendFlags, Tick, WhenDown, protocol};

/// Bits of the TCP header's flags (RFC 9293, 3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// First packet of a connection.
    pub const SYN: u8 = 0x02;
    /// The connection is reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;

    /// Whether a packet with these flags asks for a connection.
    #[inline(always)]
    pub const fn is_request(flags: u8) -> bool {
        flags & (SYN | ACK) == SYN
    }
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

/// How far a flow has come, as far as its packets show.
///
/// A flow that has ended is remembered for a while, and a first packet that comes meanwhile does not begin another one in
/// its place: packets can be forged, and none may take a client from its backend.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Phase(u8);

/// What a [`Phase`] means for the flow's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing but its first packet has been seen.
    Opening,
    /// It is in use.
    Open,
    /// One side has ended; the other may go on for long.
    HalfClosed,
    /// Both sides have ended, or one has reset it.
    Closed,
}

impl Phase {
    const OPEN: u8 = 1;
    const CLIENT_ENDED: u8 = 2;
    const BACKEND_ENDED: u8 = 4;
    const CLIENT_RESET: u8 = 8;
    const BACKEND_RESET: u8 = 16;
    const ANSWERED: u8 = 32;
    const OVERDUE: u8 = 64;

    /// The phase of a flow that begins with a packet with these TCP flags; for UDP they are zero.
    ///
    /// A TCP flow may begin in its middle, when another balancer had it before.
    #[inline(always)]
    pub const fn first(protocol: u8, flags: u8) -> Self {
        if protocol == protocol::TCP && flags & tcp::SYN == 0 {
            Self(0).after(Sender::Client, flags)
        } else {
            Self(0)
        }
    }

    /// The phase after another packet. A client's reset counts until the client goes on all the same, so that a forged one
    /// does no harm to a live flow.
    #[must_use]
    #[inline(always)]
    pub const fn after(self, sender: Sender, flags: u8) -> Self {
        let mut phase = self.0;
        if flags & tcp::SYN == 0 {
            phase |= Self::OPEN;
        }
        let reset = flags & tcp::RST != 0;
        let ended = flags & tcp::FIN != 0;
        match sender {
            Sender::Client if reset => phase |= Self::CLIENT_RESET,
            Sender::Client => {
                phase &= !Self::CLIENT_RESET;
                if ended {
                    phase |= Self::CLIENT_ENDED;
                }
            }
            Sender::Backend if reset => phase |= Self::ANSWERED | Self::BACKEND_RESET,
            Sender::Backend if ended => phase |= Self::ANSWERED | Self::BACKEND_ENDED,
            Sender::Backend => phase |= Self::ANSWERED,
        }
        Self(phase)
    }

    /// Whether the flow is in use and stays so with another packet of the client's with these TCP flags, its phase unchanged.
    #[inline(always)]
    pub const fn stays_open(self, flags: u8) -> bool {
        const ENDING: u8 = Phase::CLIENT_ENDED | Phase::BACKEND_ENDED | Phase::CLIENT_RESET | Phase::BACKEND_RESET;
        self.0 & (Self::OPEN | ENDING) == Self::OPEN && flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0
    }

    /// Whether the client has asked for a connection and got no answer yet.
    #[inline(always)]
    pub const fn awaits_answer(self) -> bool {
        self.0 & (Self::OPEN | Self::ANSWERED) == 0
    }

    /// Whether a packet of the backend's with these TCP flags refuses the connection that the client has asked for.
    #[inline(always)]
    pub const fn is_refused_by(self, flags: u8) -> bool {
        flags & tcp::RST != 0 && self.awaits_answer()
    }

    /// The phase once it has been noted that the answer is overdue.
    #[must_use]
    #[inline(always)]
    pub const fn overdue(self) -> Self {
        Self(self.0 | Self::OVERDUE)
    }

    /// Whether it has been noted that the answer is overdue.
    #[inline(always)]
    pub const fn is_overdue(self) -> bool {
        self.0 & Self::OVERDUE != 0
    }

    /// What the phase means.
    #[inline(always)]
    pub const fn stage(self) -> Stage {
        const BOTH: u8 = Phase::CLIENT_ENDED | Phase::BACKEND_ENDED;
        const RESET: u8 = Phase::CLIENT_RESET | Phase::BACKEND_RESET;
        if self.0 & RESET != 0 || self.0 & BOTH == BOTH {
            Stage::Closed
        } else if self.0 & BOTH != 0 {
            Stage::HalfClosed
        } else if self.0 & Self::OPEN != 0 {
            Stage::Open
        } else {
            Stage::Opening
        }
    }
}

/// How long idle flows are remembered that are not in use, in units of [`Tick`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Of a flow of which only the first packet has been seen.
    pub opening: u32,
    /// Of a connection that one side has ended.
    pub half_closed: u32,
    /// Of a connection that has ended.
    pub closed: u32,
}

impl Lifetimes {
    /// Seconds for [`opening`](Self::opening): as long as a client repeats its first packet (RFC 6298, with the usual
    /// five repetitions).
    pub const OPENING_SECONDS: u64 = 63;
    /// Seconds for [`half_closed`](Self::half_closed).
    pub const HALF_CLOSED_SECONDS: u64 = 300;
    /// Seconds for [`closed`](Self::closed): TIME-WAIT as Linux keeps it.
    pub const CLOSED_SECONDS: u64 = 60;

    /// Units that a flow in `phase` is remembered after its last packet, where one in use is for `timeout`.
    #[inline(always)]
    pub const fn of(&self, phase: Phase, timeout: u32) -> u32 {
        let limit = match phase.stage() {
            Stage::Open => return timeout,
            Stage::Opening => self.opening,
            Stage::HalfClosed => self.half_closed,
            Stage::Closed => self.closed,
        };
        if limit < timeout { limit } else { timeout }
    }
}

/// Whether something last seen at `last_seen` is still remembered after `lifetime` units.
#[inline(always)]
pub const fn is_remembered(now: Tick, last_seen: Tick, lifetime: u32) -> bool {
    now.since(last_seen) <= lifetime
}

/// What has been remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// A flow.
    Flow,
    /// A client.
    Client,
}

/// What a remembered backend means for a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It gets the packet.
    Serves,
    /// Another backend is to be chosen.
    Gone,
    /// The packet is refused, so that the client notices at once.
    Reject,
    /// The packet is dropped: the backend is expected back.
    Drop,
    /// The packet is dropped and the backend woken.
    Wake,
}

/// What a remembered backend with these flags means.
#[inline(always)]
pub const fn standing(memory: Memory, flags: BackendFlags, when_down: WhenDown) -> Standing {
    let serves = match memory {
        Memory::Flow => BackendFlags::KEEPS_FLOWS,
        Memory::Client => BackendFlags::KEEPS_CLIENTS,
    };
    if flags.contains(serves) {
        Standing::Serves
    } else if flags.contains(BackendFlags::SUSPENDED) {
        Standing::Wake
    } else if flags.contains(BackendFlags::DOWN) && flags.contains(BackendFlags::EXPECTED) {
        match when_down {
            WhenDown::Reassign => Standing::Gone,
            WhenDown::Reject => Standing::Reject,
            WhenDown::Drop => Standing::Drop,
        }
    } else {
        Standing::Gone
    }
}

#[cfg(test)]
mod tests;

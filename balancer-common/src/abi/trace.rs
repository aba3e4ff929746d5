//! What the data plane tells of single packets while somebody follows, and which of them.

use super::{Address, Port, record};
use crate::DropReason;

/// Which decisions are told. A record of zeroes asks for none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceFilter {
    /// The client's address, as far as [`client_mask`](Self::client_mask) has bits: the sender or the receiver of the packet.
    pub client: Address,
    /// Which bits of the client's address count.
    pub client_mask: Address,
    /// One bit for each [`DropReason`] that is asked for, the first for number 0.
    pub drops: u64,
    /// The service's index; 0 for any.
    pub service: u32,
    /// The backend's index; 0 for any.
    pub backend: u32,
    /// How many decisions are told in a second, and at once, on each CPU.
    pub rate: u32,
    /// Whether decisions about packets that are not dropped are asked for: 0 or 1.
    pub kept: u8,
    /// Whether the packets' bytes are asked for: 0 or 1.
    pub capture: u8,
    /// Zero.
    pub _reserved: [u8; 2],
}
record!(
    TraceFilter {
        client,
        client_mask,
        drops,
        service,
        backend,
        rate,
        kept,
        capture,
        _reserved
    },
    56
);

impl TraceFilter {
    /// Asks for every reason for a drop.
    pub const ALL_DROPS: u64 = (1 << DropReason::ALL.len()) - 1;

    /// Whether a decision is asked for.
    #[inline(always)]
    pub const fn admits(&self, decision: &Decision) -> bool {
        let wanted = match decision.drop {
            0 => self.kept != 0,
            drop => self.drops & 1_u64.wrapping_shl(drop - 1) != 0,
        };
        wanted
            && (self.service == 0 || self.service == decision.service)
            && (self.backend == 0 || self.backend == decision.backend)
            && (self.is_client(decision.source) || self.is_client(decision.destination))
    }

    #[inline(always)]
    const fn is_client(&self, address: Address) -> bool {
        let [first, second] = address.masked(self.client_mask).words();
        let [client_first, client_second] = self.client.words();
        first == client_first && second == client_second
    }
}

const _: () = assert!(DropReason::ALL.len() < 64, "a filter has a bit for each reason");

/// What was decided about a packet. Integers are in the host's order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// When, in nanoseconds since the system was started (`CLOCK_MONOTONIC`).
    pub time: u64,
    /// Sender, as the packet came.
    pub source: Address,
    /// Receiver, as the packet came.
    pub destination: Address,
    /// The sender's port.
    pub source_port: Port,
    /// The receiver's port.
    pub destination_port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Flags of the TCP header.
    pub tcp_flags: u8,
    /// The XDP action.
    pub action: u8,
    /// Whether it is a reply: 0 or 1.
    pub is_reply: u8,
    /// The service's index; 0 if it is not known.
    pub service: u32,
    /// The backend's index; 0 if it is not known.
    pub backend: u32,
    /// Why this backend: a [`Reason`](super::Reason); 0 if none was chosen.
    pub reason: u32,
    /// The number of the [`DropReason`], counted from one; 0 if the packet was not dropped.
    pub drop: u32,
    /// Index of the interface that the packet came in by.
    pub interface: u32,
    /// Bytes of the frame as it came.
    pub received: u32,
    /// Bytes of the frame as it leaves or is passed on; 0 if it does not.
    pub sent: u32,
    /// How many decisions before this one, on the same CPU, were asked for and not told, as they were too many.
    pub missed: u32,
}
record!(
    Decision {
        time,
        source,
        destination,
        source_port,
        destination_port,
        protocol,
        tcp_flags,
        action,
        is_reply,
        service,
        backend,
        reason,
        drop,
        interface,
        received,
        sent,
        missed
    },
    80
);

impl Decision {
    /// None yet.
    pub const NONE: Self = Self {
        time: 0,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        source_port: [0; 2],
        destination_port: [0; 2],
        protocol: 0,
        tcp_flags: 0,
        action: 0,
        is_reply: 0,
        service: 0,
        backend: 0,
        reason: 0,
        drop: 0,
        interface: 0,
        received: 0,
        sent: 0,
        missed: 0,
    };
}

/// Bytes of a frame that are captured at most.
pub const CAPTURED: usize = 2_048;

/// A decision with the packet that it is about.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Capture {
    /// The decision.
    pub decision: Decision,
    /// The frame as it came, as far as there is room.
    pub received: [u8; CAPTURED],
    /// The frame as it leaves, as far as there is room.
    pub sent: [u8; CAPTURED],
}
record!(
    Capture {
        decision,
        received,
        sent
    },
    4_176
);

impl Capture {
    /// Bytes of the record.
    pub const LEN: usize = size_of::<Self>();
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Address = Address::v4([10, 1, 2, 3]);
    const VIP: Address = Address::v4([192, 0, 2, 10]);

    const ANY: TraceFilter = TraceFilter {
        client: Address::UNSPECIFIED,
        client_mask: Address::UNSPECIFIED,
        drops: TraceFilter::ALL_DROPS,
        service: 0,
        backend: 0,
        rate: 1,
        kept: 1,
        capture: 0,
        _reserved: [0; 2],
    };
    const KEPT: Decision = Decision {
        source: CLIENT,
        destination: VIP,
        service: 3,
        backend: 7,
        ..Decision::NONE
    };

    fn dropped(reason: DropReason) -> Decision {
        Decision {
            drop: reason as u32 + 1,
            ..KEPT
        }
    }

    #[test]
    fn a_filter_without_conditions_admits_everything() {
        assert!(ANY.admits(&KEPT));
        assert!(ANY.admits(&Decision::NONE));
        assert!(DropReason::ALL.iter().all(|&reason| ANY.admits(&dropped(reason))));
    }

    #[test]
    fn each_condition_holds_alone() {
        let under = |bits| TraceFilter {
            client: CLIENT.masked(Address::mask(bits)),
            client_mask: Address::mask(bits),
            ..ANY
        };
        let from = |source| Decision { source, ..KEPT };
        let cases = [
            (TraceFilter { service: 3, ..ANY }, KEPT, true),
            (TraceFilter { service: 4, ..ANY }, KEPT, false),
            (TraceFilter { backend: 7, ..ANY }, KEPT, true),
            (TraceFilter { backend: 8, ..ANY }, KEPT, false),
            (TraceFilter { kept: 0, ..ANY }, KEPT, false),
            (TraceFilter { kept: 0, ..ANY }, dropped(DropReason::TooBig), true),
            (TraceFilter { drops: 0, ..ANY }, dropped(DropReason::TooBig), false),
            (under(128), KEPT, true),
            (under(96 + 16), from(Address::v4([10, 1, 9, 9])), true),
            (under(96 + 16), from(Address::v4([10, 2, 9, 9])), false),
        ];
        for (filter, decision, expected) in cases {
            assert_eq!(filter.admits(&decision), expected, "{filter:?} {decision:?}");
        }
    }

    #[test]
    fn a_client_is_found_on_either_end() {
        let filter = TraceFilter {
            client: CLIENT,
            client_mask: Address::mask(128),
            ..ANY
        };
        let reply = Decision {
            source: KEPT.destination,
            destination: KEPT.source,
            ..KEPT
        };
        assert!(filter.admits(&KEPT));
        assert!(filter.admits(&reply));
    }

    #[test]
    fn one_reason_admits_no_other() {
        for &wanted in DropReason::ALL {
            let filter = TraceFilter {
                drops: 1 << wanted as u32,
                kept: 0,
                ..ANY
            };
            for &reason in DropReason::ALL {
                assert_eq!(filter.admits(&dropped(reason)), reason == wanted);
            }
        }
    }
}

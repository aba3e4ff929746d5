//! What the XDP program needs to know of a service.

use super::{Address, Generation, record};
use crate::{
    quic::{ConnectionIds, Layout},
    token_bucket::Rate,
};

/// Which part of a packet decides where a new flow goes.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AffinityKind {
    /// The client's address and port.
    ClientIpPort = 0,
    /// The client's address alone.
    ClientIp = 1,
    /// The server that a QUIC connection ID names, else the client's address and port.
    QuicCid = 2,
}

/// How packets get to the service's backends.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarding {
    /// Destination translated; replies come back through the balancer.
    Nat = 0,
    /// Source and destination translated; replies come back through the balancer.
    FullNat = 1,
    /// Only the link-layer address changes; the backend answers the client directly.
    Dsr = 2,
    /// IP in IP (RFC 2003, RFC 2473); the backend answers the client directly.
    Ipip = 3,
    /// Generic UDP encapsulation; the backend answers the client directly.
    Gue = 4,
}

impl Forwarding {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    /// Whether what backends answer comes back through the balancer.
    #[inline(always)]
    pub const fn replies_return(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

/// Which flows are remembered.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracking {
    /// Every flow.
    Full = 0,
    /// TCP flows that a table change would move.
    Changes = 1,
    /// None.
    None = 2,
}

/// How a backend is chosen for what is not remembered.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// By the client's slot of the Maglev table.
    Maglev = 0,
    /// The emptier one of two slots' backends, for their weights.
    LeastFlows = 1,
}

/// What the flows and clients of a backend that is down get.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenDown {
    /// Another backend.
    Reassign = 0,
    /// An immediate refusal.
    Reject = 1,
    /// Nothing.
    Drop = 2,
}

/// How many flows may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of one client.
    pub per_client: Rate,
    /// The bits of an address by which clients are told apart.
    pub client_mask: Address,
    /// Of all clients together.
    pub in_all: Rate,
}

impl Limits {
    /// As many as there are.
    pub const NONE: Self = Self {
        per_client: Rate::UNLIMITED,
        client_mask: Address::UNSPECIFIED,
        in_all: Rate::UNLIMITED,
    };
}

/// A service, found by its index.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// The VIP, which replies carry as their source.
    pub vip: Address,
    /// The bits of a client's address that count under [`AffinityKind::ClientIp`].
    pub client_mask: Address,
    /// Slots in the service's Maglev table; 0 while the service has no backend that could serve.
    pub table_size: u32,
    /// How long an idle flow or client keeps its backend, in units of [`Tick`](super::Tick).
    pub timeout: u32,
    /// The largest MSS that a TCP connection may be begun with, in bytes; [`u16::MAX`] leaves them all.
    pub mss: u16,
    affinity: u8,
    forwarding: u8,
    tracking: u8,
    when_down: u8,
    has_pins: u8,
    selection: u8,
    cid_layout: u8,
    server_id_length: u8,
    watches_failures: u8,
    guard: u8,
    is_usual: u8,
    _reserved: [u8; 11],
    // What only packets that begin a flow need, in a line of the CPU's cache of its own.
    per_client: Rate,
    in_all: Rate,
    limit_mask: Address,
    _padding: [u8; 16],
}
record!(
    Service {
        vip,
        client_mask,
        table_size,
        timeout,
        mss,
        affinity,
        forwarding,
        tracking,
        when_down,
        has_pins,
        selection,
        cid_layout,
        server_id_length,
        watches_failures,
        guard,
        is_usual,
        _reserved,
        per_client,
        in_all,
        limit_mask,
        _padding
    },
    128
);

/// What a [`Service`] is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceParts {
    /// The VIP.
    pub vip: Address,
    /// The bits of a client's address that count under [`AffinityKind::ClientIp`].
    pub client_mask: Address,
    /// Slots in the Maglev table.
    pub table_size: u32,
    /// How long an idle flow or client keeps its backend, in units of [`Tick`](super::Tick).
    pub timeout: u32,
    /// What decides where a new flow goes.
    pub affinity: AffinityKind,
    /// How packets get to the backends.
    pub forwarding: Forwarding,
    /// Which flows are remembered.
    pub tracking: Tracking,
    /// What the flows and clients of a backend that is down get.
    pub when_down: WhenDown,
    /// Whether some of its clients are pinned.
    pub has_pins: bool,
    /// How a backend is chosen for what is not remembered.
    pub selection: Selection,
    /// The largest MSS that a TCP connection may be begun with, in bytes; [`u16::MAX`] leaves them all.
    pub mss: u16,
    /// What QUIC connection IDs are like, under [`AffinityKind::QuicCid`].
    pub connection_ids: ConnectionIds,
    /// Whether connections that its backends refuse or leave unanswered are counted.
    pub watches_failures: bool,
    /// The generation of its source lists that counts, if it has any.
    pub source_lists: Option<Generation>,
    /// How many flows may begin.
    pub limits: Limits,
}

impl ServiceParts {
    /// Whether every packet may come and goes on as it came, by its flow or by its slot of the Maglev table.
    fn is_usual(&self) -> bool {
        self.affinity == AffinityKind::ClientIpPort
            && !self.has_pins
            && self.selection == Selection::Maglev
            && self.mss == u16::MAX
            && self.source_lists.is_none()
            && self.limits == Limits::NONE
    }
}

/// The service has source lists: a bit of what guards it.
const HAS_SOURCE_LISTS: u8 = 1;
/// The [`Generation`] of the source lists that counts: a bit of what guards a service.
const GENERATION: u8 = 2;
/// The service has limits: a bit of what guards it.
const HAS_LIMITS: u8 = 4;

impl From<ServiceParts> for Service {
    fn from(parts: ServiceParts) -> Self {
        Self {
            vip: parts.vip,
            client_mask: parts.client_mask,
            table_size: parts.table_size,
            timeout: parts.timeout,
            affinity: parts.affinity as u8,
            forwarding: parts.forwarding as u8,
            tracking: parts.tracking as u8,
            when_down: parts.when_down as u8,
            has_pins: u8::from(parts.has_pins),
            selection: parts.selection as u8,
            mss: parts.mss,
            cid_layout: parts.connection_ids.layout as u8,
            server_id_length: parts.connection_ids.server_id_length,
            watches_failures: u8::from(parts.watches_failures),
            guard: match parts.source_lists {
                None => 0,
                Some(Generation::Odd) => HAS_SOURCE_LISTS,
                Some(Generation::Even) => HAS_SOURCE_LISTS | GENERATION,
            } | if parts.limits == Limits::NONE { 0 } else { HAS_LIMITS },
            is_usual: u8::from(parts.is_usual()),
            _reserved: [0; 11],
            per_client: parts.limits.per_client,
            in_all: parts.limits.in_all,
            limit_mask: parts.limits.client_mask,
            _padding: [0; 16],
        }
    }
}

impl Service {
    /// The record of an index that no service has.
    pub const VACANT: Self = Self {
        vip: Address::UNSPECIFIED,
        client_mask: Address::UNSPECIFIED,
        table_size: 0,
        timeout: 0,
        affinity: 0,
        forwarding: 0,
        tracking: 0,
        when_down: 0,
        has_pins: 0,
        selection: 0,
        mss: u16::MAX,
        cid_layout: 0,
        server_id_length: 0,
        watches_failures: 0,
        guard: 0,
        is_usual: 0,
        _reserved: [0; 11],
        per_client: Rate::UNLIMITED,
        in_all: Rate::UNLIMITED,
        limit_mask: Address::UNSPECIFIED,
        _padding: [0; 16],
    };

    /// Which part of a packet decides where a new flow goes.
    #[inline(always)]
    pub const fn affinity(&self) -> AffinityKind {
        match self.affinity {
            1 => AffinityKind::ClientIp,
            2 => AffinityKind::QuicCid,
            _ => AffinityKind::ClientIpPort,
        }
    }

    /// How packets get to the service's backends.
    #[inline(always)]
    pub const fn forwarding(&self) -> Forwarding {
        match self.forwarding {
            1 => Forwarding::FullNat,
            2 => Forwarding::Dsr,
            3 => Forwarding::Ipip,
            4 => Forwarding::Gue,
            _ => Forwarding::Nat,
        }
    }

    /// Which flows are remembered.
    #[inline(always)]
    pub const fn tracking(&self) -> Tracking {
        match self.tracking {
            1 => Tracking::Changes,
            2 => Tracking::None,
            _ => Tracking::Full,
        }
    }

    /// What the flows and clients of a backend that is down get.
    #[inline(always)]
    pub const fn when_down(&self) -> WhenDown {
        match self.when_down {
            1 => WhenDown::Reject,
            2 => WhenDown::Drop,
            _ => WhenDown::Reassign,
        }
    }

    /// Whether some of its clients are pinned.
    #[inline(always)]
    pub const fn has_pins(&self) -> bool {
        self.has_pins != 0
    }

    /// Whether what most services do without can be left aside: affinity by anything but the client's address and port, pins, a
    /// lowered MSS, source lists, limits, selection by anything but the table.
    #[inline(always)]
    pub const fn is_usual(&self) -> bool {
        self.is_usual != 0
    }

    /// Whether every flow is remembered.
    #[inline(always)]
    pub const fn remembers_all(&self) -> bool {
        self.tracking == Tracking::Full as u8
    }

    /// Whether connections that its backends refuse or leave unanswered are counted.
    #[inline(always)]
    pub const fn watches_failures(&self) -> bool {
        self.watches_failures != 0
    }

    /// Whether there are packets that it does not admit.
    #[inline(always)]
    pub const fn is_guarded(&self) -> bool {
        self.guard != 0
    }

    /// The generation of its source lists that counts, if it has any.
    #[inline(always)]
    pub const fn source_lists(&self) -> Option<Generation> {
        match self.guard & (HAS_SOURCE_LISTS | GENERATION) {
            0 => None,
            HAS_SOURCE_LISTS => Some(Generation::Odd),
            _ => Some(Generation::Even),
        }
    }

    /// Whether only so many flows may begin.
    #[inline(always)]
    pub const fn has_limits(&self) -> bool {
        self.guard & HAS_LIMITS != 0
    }

    /// How many flows may begin.
    #[inline(always)]
    pub const fn limits(&self) -> Limits {
        Limits {
            per_client: self.per_client,
            client_mask: self.limit_mask,
            in_all: self.in_all,
        }
    }

    /// How a backend is chosen for what is not remembered.
    #[inline(always)]
    pub const fn selection(&self) -> Selection {
        match self.selection {
            1 => Selection::LeastFlows,
            _ => Selection::Maglev,
        }
    }

    /// What QUIC connection IDs are like, under [`AffinityKind::QuicCid`].
    #[inline(always)]
    pub const fn connection_ids(&self) -> ConnectionIds {
        ConnectionIds {
            layout: match self.cid_layout {
                1 => Layout::Katran,
                _ => Layout::QuicLb,
            },
            server_id_length: self.server_id_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: ServiceParts = ServiceParts {
        vip: Address::v4([192, 0, 2, 10]),
        client_mask: Address::v4([255, 255, 255, 0]),
        table_size: 65_537,
        timeout: 12_345,
        affinity: AffinityKind::ClientIpPort,
        forwarding: Forwarding::Nat,
        tracking: Tracking::Full,
        when_down: WhenDown::Reassign,
        has_pins: false,
        selection: Selection::Maglev,
        mss: 1_400,
        connection_ids: ConnectionIds::DEFAULT,
        watches_failures: false,
        source_lists: None,
        limits: Limits::NONE,
    };

    fn parts_of(service: &Service) -> ServiceParts {
        ServiceParts {
            vip: service.vip,
            client_mask: service.client_mask,
            table_size: service.table_size,
            timeout: service.timeout,
            affinity: service.affinity(),
            forwarding: service.forwarding(),
            tracking: service.tracking(),
            when_down: service.when_down(),
            has_pins: service.has_pins(),
            selection: service.selection(),
            mss: service.mss,
            connection_ids: service.connection_ids(),
            watches_failures: service.watches_failures(),
            source_lists: service.source_lists(),
            limits: service.limits(),
        }
    }

    #[test]
    fn a_service_gives_back_what_it_was_made_of() {
        let mut samples = vec![
            PARTS,
            ServiceParts {
                has_pins: true,
                ..PARTS
            },
            ServiceParts {
                watches_failures: true,
                ..PARTS
            },
            ServiceParts {
                selection: Selection::LeastFlows,
                ..PARTS
            },
            ServiceParts {
                connection_ids: ConnectionIds {
                    layout: Layout::Katran,
                    server_id_length: 7,
                },
                ..PARTS
            },
        ];
        samples.extend([Generation::Odd, Generation::Even].map(|generation| ServiceParts {
            source_lists: Some(generation),
            ..PARTS
        }));
        let limits = [
            Limits {
                per_client: Rate::per_second(100, 200),
                client_mask: Address::mask(64),
                ..Limits::NONE
            },
            Limits {
                in_all: Rate::per_second(1_000, 20),
                ..Limits::NONE
            },
        ];
        samples.extend(limits.map(|limits| ServiceParts { limits, ..PARTS }));
        samples.extend(Forwarding::ALL.map(|forwarding| ServiceParts { forwarding, ..PARTS }));
        samples.extend(
            [
                AffinityKind::ClientIpPort,
                AffinityKind::ClientIp,
                AffinityKind::QuicCid,
            ]
            .map(|affinity| ServiceParts { affinity, ..PARTS }),
        );
        samples.extend(
            [Tracking::Full, Tracking::Changes, Tracking::None].map(|tracking| ServiceParts { tracking, ..PARTS }),
        );
        samples.extend(
            [WhenDown::Reassign, WhenDown::Reject, WhenDown::Drop].map(|when_down| ServiceParts { when_down, ..PARTS }),
        );
        for parts in samples {
            let service = Service::from(parts);
            assert_eq!(parts_of(&service), parts);
            assert_eq!(service.has_limits(), parts.limits != Limits::NONE);
            let is_guarded = parts.source_lists.is_some() || service.has_limits();
            assert_eq!(service.is_guarded(), is_guarded);
        }
    }
}

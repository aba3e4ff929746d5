//! What the XDP program needs to know of a backend: all that forwarding touches, in one cache line.

use super::{Address, Mac, Port, record};
use crate::packet::Family;

/// Where packets to an address leave the host.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NextHop {
    /// Index of the interface in the data plane's network namespace; 0 while no next hop is known.
    pub interface: u32,
    /// MAC of the neighbour.
    pub destination: Mac,
    /// MAC of the interface.
    pub source: Mac,
}

record!(
    NextHop {
        interface,
        destination,
        source
    },
    16
);

impl NextHop {
    /// Both MACs as they stand in a frame, in words of four bytes: the compiler for BPF copies arrays of bytes by a call,
    /// a byte at a time.
    #[inline(always)]
    pub const fn addresses(&self) -> [[u8; 4]; 3] {
        // SAFETY: both are as long and have no padding, as the assertions of `record` say, and any bytes are integers.
        let [_, first, second, third] = unsafe { core::mem::transmute::<Self, [u32; 4]>(*self) };
        [first.to_ne_bytes(), second.to_ne_bytes(), third.to_ne_bytes()]
    }

    /// Whether packets can be sent there.
    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.interface != 0
    }
}

/// What a backend may be given, and how its replies are told apart.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendFlags(u8);

impl BackendFlags {
    /// Flows that the backend already has stay with it.
    pub const KEEPS_FLOWS: Self = Self(1);
    /// Several service ports share the backend's address and port, so each flow records which one it came through.
    pub const SHARED_ENDPOINT: Self = Self(2);
    /// Its health check says that it is up. Kept here for the daemon, which may be restarted.
    pub const UP: Self = Self(4);
    /// It is down: by its health check, or, where that says that it is [`UP`](Self::UP), by what live traffic shows. Kept
    /// here for the daemon, which may be restarted.
    pub const DOWN: Self = Self(8);
    /// New flows of clients that the backend already has go to it.
    pub const KEEPS_CLIENTS: Self = Self(16);
    /// It sleeps: packets for it wake it and are dropped meanwhile.
    pub const SUSPENDED: Self = Self(32);
    /// While it is down, what becomes of its flows and clients is for the service to decide
    /// ([`WhenDown`](super::WhenDown)).
    pub const EXPECTED: Self = Self(64);
    /// Its replies may be to an address of the balancer's own.
    pub const FULL_NAT: Self = Self(128);

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A backend of one service, found by its index. Index 0 is no backend.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// The backend's address.
    pub address: Address,
    /// Index of the service it belongs to.
    pub service: u32,
    /// Counts the backends that have had this index, so that a flow of a former one is not mistaken for this one's.
    /// 0 in an index that was never used.
    pub incarnation: u32,
    /// Where its packets leave the host.
    pub next_hop: NextHop,
    /// The sender of tunnelled packets: an address of the balancer in the family of the backend's.
    pub tunnel_source: Address,
    /// Its port in network order; [`ANY_PORT`](super::ANY_PORT) keeps the port that the client used.
    pub port: Port,
    /// The VIP's port that its replies carry; [`ANY_PORT`](super::ANY_PORT) keeps the port that the backend used.
    pub reply_port: Port,
    /// Largest IP packet that fits on the way there, in bytes.
    pub mtu: u16,
    /// What it may be given, and how its replies are told apart.
    pub flags: BackendFlags,
    /// IP version of its address, 4 or 6; 0 in an index that no backend has.
    pub ip: u8,
}
record!(
    Backend {
        address,
        service,
        incarnation,
        next_hop,
        tunnel_source,
        port,
        reply_port,
        mtu,
        flags,
        ip
    },
    64
);

impl Backend {
    /// The record of an index that no backend has.
    pub const VACANT: Self = Self {
        address: Address::UNSPECIFIED,
        service: 0,
        incarnation: 0,
        next_hop: NextHop {
            interface: 0,
            destination: [0; 6],
            source: [0; 6],
        },
        tunnel_source: Address::UNSPECIFIED,
        port: [0; 2],
        reply_port: [0; 2],
        mtu: 0,
        flags: BackendFlags(0),
        ip: 0,
    };

    /// The family of the address of one that is not vacant, by its record alone.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.ip == Family::V4 as u8 {
            Family::V4
        } else {
            Family::V6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacant_backend_may_have_nothing() {
        assert!(!Backend::VACANT.next_hop.is_known());
        assert!(!Backend::VACANT.flags.contains(BackendFlags::KEEPS_FLOWS));
        assert!(!Backend::VACANT.flags.contains(BackendFlags::SHARED_ENDPOINT));
        assert_eq!(Backend::VACANT.next_hop, NextHop::default());
    }

    #[test]
    fn flags_are_told_apart() {
        let (keeps, shared) = (BackendFlags::KEEPS_FLOWS, BackendFlags::SHARED_ENDPOINT);
        let none = BackendFlags::default();
        assert!(keeps.with(shared).contains(keeps));
        assert!(keeps.with(shared).contains(shared));
        assert!(keeps.with(shared).contains(keeps.with(shared)));
        assert!(!keeps.contains(shared));
        assert!(!keeps.contains(keeps.with(shared)));
        assert_eq!(keeps.with(none), keeps);
        assert!(none.contains(none));
    }
}

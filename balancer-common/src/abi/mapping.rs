//! What full NAT remembers: by which address and port of the balancer a backend sees a flow, and whose replies to them
//! are.

use super::{Address, Port, record};

/// What the backend sees as the source of a flow.
///
/// It says where to look for the flow's [`Mapping`] and nothing more: only that says whether the flow still has it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// An address of the balancer.
    pub address: Address,
    /// A port of the balancer's, network order.
    pub port: Port,
    /// Always zero.
    pub _padding: [u8; 6],
}
record!(
    Source {
        address,
        port,
        _padding
    },
    24
);

/// The two ends between balancer and backend, of which no two flows have the same.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MappingKey {
    /// The balancer's address: a reply's destination.
    pub source: Address,
    /// The backend's address: a reply's source.
    pub backend: Address,
    /// The balancer's port, network order.
    pub source_port: Port,
    /// The backend's port, network order.
    pub backend_port: Port,
    /// The IP protocol number.
    pub protocol: u32,
}
record!(
    MappingKey {
        source,
        backend,
        source_port,
        backend_port,
        protocol
    },
    40
);

/// The flow that has an address and port of the balancer, and for how long.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The client's address.
    pub client: Address,
    /// The client's port, network order.
    pub client_port: Port,
    /// The port of the VIP that the client talks to, network order.
    pub service_port: Port,
    /// The backend's index.
    pub backend: u32,
    /// The [incarnation](super::Backend::incarnation) of the index that is meant.
    pub incarnation: u32,
    /// How long the flow may be silent, in seconds, while it is open.
    pub idle: u32,
    /// When the flow was last seen, in seconds of the kernel's monotonic clock.
    pub seen: u32,
    /// What has been seen from the client.
    pub from_client: Side,
    /// What has been seen from the backend.
    pub from_backend: Side,
    /// Always zero.
    pub _padding: [u8; 2],
}
record!(
    Mapping {
        client,
        client_port,
        service_port,
        backend,
        incarnation,
        idle,
        seen,
        from_client,
        from_backend,
        _padding
    },
    40
);

/// TCP control bits (RFC 9293, 3.1) that say something of the state of a flow.
mod control {
    pub(super) const FIN: u8 = 1;
    pub(super) const SYN: u8 = 2;
    pub(super) const RST: u8 = 4;
    pub(super) const ACK: u8 = 16;
}

/// What has been seen of one side of a flow. Each side has a byte of its own, which only packets from there change, so
/// that CPUs that see one direction each do not undo what the other has noted.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Side(u8);

impl Side {
    const SPOKE: u8 = 1;
    const FINISHED: u8 = 2;
    const RESET: u8 = 4;

    /// The side after a packet with these TCP control bits; a UDP datagram has none.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, control_bits: u8) -> Self {
        if control_bits & control::RST != 0 {
            return Self(self.0 | Self::RESET);
        }
        // Who only asks for a connection may not be who it says: its answer to the answer tells.
        if control_bits & (control::SYN | control::ACK) == control::SYN {
            return Self(0);
        }
        // Who goes on after a reset has not sent it: anyone can forge one that the receiver does not heed.
        let spoke = (self.0 & !Self::RESET) | Self::SPOKE;
        if control_bits & control::FIN != 0 {
            return Self(spoke | Self::FINISHED);
        }
        Self(spoke)
    }

    const fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

/// Whether these TCP control bits begin a connection.
#[inline(always)]
pub const fn begins_connection(control_bits: u8) -> bool {
    control_bits & (control::SYN | control::RST) == control::SYN
}

impl Mapping {
    /// How long a flow that is not established yet, was reset, or that both sides have finished keeps its port, in seconds.
    /// Linux keeps the backend's end for as long after a connection (TIME-WAIT) and refuses a new one there.
    pub const CLOSED_HOLD: u32 = 60;

    /// Seconds after a port is no longer held before another flow may take it. Nobody uses it in between, so whoever
    /// last saw it held has long sent the packet when another takes it.
    pub const MARGIN: u32 = 2;

    /// How long the flow keeps its port after its last packet, in seconds.
    #[inline(always)]
    pub const fn hold(&self) -> u32 {
        let (client, backend) = (self.from_client, self.from_backend);
        let established = client.has(Side::SPOKE) && backend.has(Side::SPOKE);
        let reset = client.has(Side::RESET) || backend.has(Side::RESET);
        let finished = client.has(Side::FINISHED) && backend.has(Side::FINISHED);
        if (established && !reset && !finished) || self.idle < Self::CLOSED_HOLD {
            self.idle
        } else {
            Self::CLOSED_HOLD
        }
    }

    /// Whether the flow has its port at the time `now`.
    #[inline(always)]
    pub const fn is_held(&self, now: u32) -> bool {
        self.silence(now) <= self.hold()
    }

    /// Whether another flow may take the port at the time `now`.
    #[inline(always)]
    pub const fn is_free(&self, now: u32) -> bool {
        self.silence(now) > self.hold().saturating_add(Self::MARGIN)
    }

    /// Whether `other` is a mapping of the same flow to the same backend.
    #[inline(always)]
    pub fn is_same_flow(&self, other: &Self) -> bool {
        self.client == other.client
            && self.client_port == other.client_port
            && self.service_port == other.service_port
            && self.backend == other.backend
            && self.incarnation == other.incarnation
    }

    /// Seconds since the flow was last seen. Clocks of CPUs may be a tick apart.
    #[inline(always)]
    const fn silence(&self, now: u32) -> u32 {
        now.saturating_sub(self.seen)
    }
}

/// The most source addresses that a service has of each IP version.
pub const MAX_SOURCES: usize = 32;

/// Source addresses of one IP version.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceAddresses {
    /// The addresses; those behind the first `count` have no meaning.
    pub addresses: [Address; MAX_SOURCES],
    /// How many there are.
    pub count: u32,
    /// Always zero.
    pub _padding: u32,
}
record!(
    SourceAddresses {
        addresses,
        count,
        _padding
    },
    520
);

/// What new flows of a service under full NAT may have as their source.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourcePool {
    /// Addresses for backends of each IP version, at its [`family`](Self::family).
    pub addresses: [SourceAddresses; 2],
    /// The lowest port.
    pub first_port: u16,
    /// The highest port.
    pub last_port: u16,
    /// How long an open flow may be silent, in seconds.
    pub idle: u32,
}
record!(
    SourcePool {
        addresses,
        first_port,
        last_port,
        idle
    },
    1048
);

impl SourcePool {
    /// Where addresses for a backend at `address` are.
    #[inline(always)]
    pub const fn family(address: Address) -> u32 {
        address.is_v4() as u32
    }

    /// A pool of `addresses`, of which [`MAX_SOURCES`] of each IP version count.
    pub fn new(addresses: impl IntoIterator<Item = Address>, ports: (u16, u16), idle: u32) -> Self {
        let (first_port, last_port) = ports;
        let mut pool = Self {
            first_port,
            last_port,
            idle,
            ..Self::default()
        };
        for address in addresses {
            let [v6, v4] = &mut pool.addresses;
            let family = if address.is_v4() { v4 } else { v6 };
            if let Some(free) = family.addresses.get_mut(family.count as usize) {
                *free = address;
                family.count += 1;
            }
        }
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = control::SYN;
    const ACK: u8 = control::ACK;
    const FIN: u8 = control::FIN | ACK;
    const RST: u8 = control::RST;

    const OPEN: u32 = 3_600;

    fn mapping() -> Mapping {
        Mapping {
            client: Address::v4([198, 51, 100, 7]),
            client_port: [0x9c, 0x40],
            service_port: [0, 80],
            backend: 3,
            incarnation: 1,
            idle: OPEN,
            seen: 1_000,
            from_client: Side::default(),
            from_backend: Side::default(),
            _padding: [0; 2],
        }
    }

    /// How long the flow keeps its port after packets with these control bits, each from the client or the backend.
    fn hold_after(packets: &[(char, u8)]) -> u32 {
        let mut mapping = mapping();
        for (from, bits) in packets {
            let side = if *from == 'c' {
                &mut mapping.from_client
            } else {
                &mut mapping.from_backend
            };
            *side = side.after(*bits);
        }
        mapping.hold()
    }

    #[test]
    fn only_an_open_flow_keeps_its_port_for_long() {
        let closed = Mapping::CLOSED_HOLD;
        let open = [('c', SYN), ('b', SYN | ACK), ('c', ACK)];
        for (case, packets, expected) in [
            ("a handshake that nobody answers", &[('c', SYN), ('c', SYN)][..], closed),
            ("an answered one", &[('c', SYN), ('b', SYN | ACK)], closed),
            ("a completed one", &[('c', SYN), ('b', SYN | ACK), ('c', ACK)], OPEN),
            ("a refused one", &[('c', SYN), ('b', RST | ACK)], closed),
            ("a datagram without an answer", &[('c', 0), ('c', 0)], closed),
            ("a datagram with one", &[('c', 0), ('b', 0)], OPEN),
            ("one side has finished", &[('c', FIN)], OPEN),
            ("both have", &[('b', FIN), ('c', FIN), ('b', ACK)], closed),
            ("the client resets", &[('c', RST)], closed),
            ("the backend resets", &[('b', RST | ACK)], closed),
            ("goes on after a forged reset", &[('c', RST), ('c', ACK)], OPEN),
            (
                "the other side's packets do not undo a reset",
                &[('c', RST), ('b', ACK)],
                closed,
            ),
            (
                "the client's port is used again",
                &[('c', FIN), ('b', FIN), ('c', SYN), ('b', SYN | ACK), ('c', ACK)],
                OPEN,
            ),
        ] {
            let before: &[_] = if case.contains("datagram") || packets[0].1 == SYN {
                &[]
            } else {
                &open
            };
            assert_eq!(hold_after(&[before, packets].concat()), expected, "{case}");
        }
    }

    #[test]
    fn no_flow_keeps_its_port_for_longer_than_the_operator_says() {
        for idle in [1, Mapping::CLOSED_HOLD - 1] {
            let short = Mapping { idle, ..mapping() };
            assert_eq!(short.hold(), idle);
        }
    }

    #[test]
    fn between_one_flow_and_the_next_a_port_is_nobodys_for_a_while() {
        let mapping = mapping();
        let end = mapping.seen + mapping.hold();
        assert!(mapping.is_held(mapping.seen - 1), "the clock of another CPU");
        assert!(mapping.is_held(end) && !mapping.is_free(end));
        for now in end + 1..=end + Mapping::MARGIN {
            assert!(!mapping.is_held(now) && !mapping.is_free(now), "{now}");
        }
        assert!(mapping.is_free(end + Mapping::MARGIN + 1));
    }

    #[test]
    fn a_connection_begins_with_a_syn_alone() {
        assert!(begins_connection(SYN));
        for bits in [0, ACK, FIN, RST, SYN | RST] {
            assert!(!begins_connection(bits), "{bits:#x}");
        }
    }

    #[test]
    fn a_flow_is_told_by_its_ends_and_its_backend() {
        let one = mapping();
        let seen_later = Mapping {
            seen: 2_000,
            from_client: one.from_client.after(FIN),
            from_backend: one.from_backend.after(ACK),
            idle: 1,
            ..one
        };
        assert!(one.is_same_flow(&seen_later));
        for other in [
            Mapping {
                client: Address::v4([198, 51, 100, 8]),
                ..one
            },
            Mapping {
                client_port: [0x9c, 0x41],
                ..one
            },
            Mapping {
                service_port: [0, 81],
                ..one
            },
            Mapping { backend: 4, ..one },
            Mapping { incarnation: 2, ..one },
        ] {
            assert!(!one.is_same_flow(&other), "{other:?}");
        }
    }

    #[test]
    fn a_pool_has_as_many_addresses_of_each_version_as_fit() {
        let v4 = |last| Address::v4([10, 2, 0, last]);
        let v6 = |last| Address::v6([0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let pool = SourcePool::new([v6(1), v4(1), v4(2)], (1_024, 32_767), 60);
        let of = |pool: &SourcePool, address| pool.addresses[SourcePool::family(address) as usize];
        assert_eq!((of(&pool, v4(9)).count, of(&pool, v6(9)).count), (2, 1));
        assert_eq!(of(&pool, v4(9)).addresses[..2], [v4(1), v4(2)]);
        assert_eq!(of(&pool, v6(9)).addresses[0], v6(1));
        assert_eq!((pool.first_port, pool.last_port, pool.idle), (1_024, 32_767, 60));
        let full = SourcePool::new((0..40).map(v4), (1, 2), 1);
        assert_eq!(of(&full, v4(9)).count as usize, MAX_SOURCES);
        assert_eq!(of(&full, v4(9)).addresses[MAX_SOURCES - 1], v4(31));
    }
}

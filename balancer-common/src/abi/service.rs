//! What the XDP program needs to know of a service.

use super::{Address, TableClass, record};

/// Which part of a packet decides where a new flow goes.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AffinityKind {
    /// The client's address and port.
    ClientIpPort = 0,
    /// The client's address alone.
    ClientIp = 1,
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

/// A service, found by its index.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// The VIP, which replies carry as their source.
    pub vip: Address,
    /// Slots in the service's Maglev table; 0 while the service has no backend that could serve.
    pub table_size: u32,
    table_class: u8,
    affinity: u8,
    forwarding: u8,
    _reserved: [u8; 41],
}
record!(
    Service {
        vip,
        table_size,
        table_class,
        affinity,
        forwarding,
        _reserved
    },
    64
);

impl Service {
    /// The record of an index that no service has.
    pub const VACANT: Self = Self {
        vip: Address::UNSPECIFIED,
        table_size: 0,
        table_class: 0,
        affinity: 0,
        forwarding: 0,
        _reserved: [0; 41],
    };

    /// A service with the given VIP whose table of `table_size` slots is kept in the maps of `table_class`.
    pub const fn new(
        vip: Address,
        table_class: TableClass,
        table_size: u32,
        affinity: AffinityKind,
        forwarding: Forwarding,
    ) -> Self {
        Self {
            vip,
            table_size,
            table_class: table_class as u8,
            affinity: affinity as u8,
            forwarding: forwarding as u8,
            _reserved: [0; 41],
        }
    }

    /// Which of the table maps holds the service's table.
    #[inline(always)]
    pub const fn table_class(&self) -> TableClass {
        TableClass::from_u8(self.table_class)
    }

    /// Which part of a packet decides where a new flow goes.
    #[inline(always)]
    pub const fn affinity(&self) -> AffinityKind {
        match self.affinity {
            1 => AffinityKind::ClientIp,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gives_back_what_it_was_made_of() {
        let affinities = [AffinityKind::ClientIpPort, AffinityKind::ClientIp];
        let vip = Address::v4([192, 0, 2, 10]);
        for (class, affinity) in TableClass::ALL
            .into_iter()
            .flat_map(|class| affinities.map(|affinity| (class, affinity)))
        {
            for forwarding in Forwarding::ALL {
                let service = Service::new(vip, class, 65_537, affinity, forwarding);
                assert_eq!(service.vip, vip);
                assert_eq!(service.table_size, 65_537);
                assert_eq!(service.table_class(), class);
                assert_eq!(service.affinity(), affinity);
                assert_eq!(service.forwarding(), forwarding);
            }
        }
    }
}

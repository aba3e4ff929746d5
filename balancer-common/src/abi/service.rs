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
    _reserved: [u8; 42],
}
record!(
    Service {
        vip,
        table_size,
        table_class,
        affinity,
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
        _reserved: [0; 42],
    };

    /// A service with the given VIP whose table of `table_size` slots is kept in the maps of `table_class`.
    pub const fn new(vip: Address, table_class: TableClass, table_size: u32, affinity: AffinityKind) -> Self {
        Self {
            vip,
            table_size,
            table_class: table_class as u8,
            affinity: affinity as u8,
            _reserved: [0; 42],
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gives_back_what_it_was_made_of() {
        for class in TableClass::ALL {
            for affinity in [AffinityKind::ClientIpPort, AffinityKind::ClientIp] {
                let service = Service::new(Address::v4([192, 0, 2, 10]), class, 65_537, affinity);
                assert_eq!(service.vip, Address::v4([192, 0, 2, 10]));
                assert_eq!(service.table_size, 65_537);
                assert_eq!(service.table_class(), class);
                assert_eq!(service.affinity(), affinity);
            }
        }
    }
}

//! Where records lie in the memory that packets and the daemon share.
//!
//! It is an arena (`BPF_MAP_TYPE_ARENA`): four gigabytes of addresses, of which there is as much memory as was ever written to.
//! So every kind of record has its place for as many as there can ever be.

use core::{marker::PhantomData, ops::Range};

use super::{Backend, CpuTraffic, Endpoint, Load, Service, TablePlace, Traffic};

/// Bytes of addresses.
pub const SIZE: u64 = 1 << 32;

/// Bytes of a page.
pub const PAGE: u32 = 4_096;

/// Where the records of a kind lie, one behind the other.
#[derive(Debug)]
pub struct Region<T> {
    begin: u32,
    end: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Region<T> {
    /// The region from the byte `begin` on up to the byte `end`, at which pages begin.
    const fn new(begin: u32, end: u32) -> Self {
        Self {
            begin,
            end,
            kind: PhantomData,
        }
    }

    /// At which byte the record with this index begins.
    #[inline(always)]
    pub const fn place(&self, index: u32) -> u64 {
        self.begin as u64 + index as u64 * size_of::<T>() as u64
    }

    /// How many records there is room for.
    pub const fn capacity(&self) -> u32 {
        (self.end - self.begin) / size_of::<T>() as u32
    }
}

/// Services by their indices.
pub const SERVICES: Region<Service> = Region::new(0, 0x0100_0000);
/// Where the backends of the slots stand of services, by their indices.
pub const TABLES: Region<TablePlace> = Region::new(0x0100_0000, 0x0180_0000);
/// Where those stand that slots had before they changed hands: the oldest that flows may belong to without being remembered.
pub const PREVIOUS_TABLES: Region<TablePlace> = Region::new(0x0180_0000, 0x0200_0000);
/// How busy backends are, by their indices.
pub const LOADS: Region<Load> = Region::new(0x0200_0000, 0x0400_0000);
/// One number: that of the present state of routes and neighbours.
pub const ROUTE_EPOCH: Region<u32> = Region::new(0x0400_0000, 0x0400_0000 + PAGE);
/// What services, by their indices, have seen by backends that have left them. For the daemon alone.
pub const EARLIER_TRAFFIC: Region<Traffic> = Region::new(0x0500_0000, 0x0800_0000);
/// Backends by their indices.
pub const BACKENDS: Region<Backend> = Region::new(0x0800_0000, 0x1000_0000);
/// The seeds of the [endpoint table](crate::perfect_hash) by bucket.
pub const ENDPOINT_SEEDS: Region<u32> = Region::new(0x1000_0000, 0x1200_0000);
/// [Shortcuts](crate::shortcuts) to endpoints, by place.
pub const SHORTCUTS: Region<Endpoint> = Region::new(0x1400_0000, 0x1500_0000);
/// The entries of the endpoint table.
pub const ENDPOINTS: Region<Endpoint> = Region::new(0x1800_0000, 0x2800_0000);
/// [Counters](super::CounterLayout).
pub const COUNTERS: Region<CpuTraffic> = Region::new(0x2800_0000, 0x5800_0000);
/// The pages in which [tables](super::TablePlace) lie.
pub const TABLE_PAGES: Range<u32> = 0x5800_0000 / PAGE..(SIZE / PAGE as u64) as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn region<T>(region: &Region<T>, count: u32) -> (u32, u32) {
        assert!(
            count <= region.capacity(),
            "bytes {}..{} have no room for {count}",
            region.begin,
            region.end
        );
        (region.begin, region.end)
    }

    #[test]
    fn regions_follow_one_another_and_there_is_room_for_what_a_configuration_may_ask_for() {
        let (services, backends) = ((1 << 16) + 1, (1 << 20) + 1);
        let endpoints = 1_u32 << 23;
        let regions = [
            region(&SERVICES, services),
            region(&TABLES, services),
            region(&PREVIOUS_TABLES, services),
            region(&LOADS, backends),
            region(&ROUTE_EPOCH, 1),
            region(&EARLIER_TRAFFIC, services),
            region(&BACKENDS, backends),
            region(&ENDPOINT_SEEDS, endpoints / 4),
            region(&SHORTCUTS, crate::shortcuts::PLACES),
            region(&ENDPOINTS, endpoints),
            // Of more than 700 CPUs with as many backends as by default.
            region(&COUNTERS, 700 * 16_384),
            (TABLE_PAGES.start * PAGE, u32::MAX),
        ];
        assert!(regions.is_sorted_by(|before, after| before.1 <= after.0));
        assert!(regions.iter().all(|&(begin, _)| begin % PAGE == 0));
        assert_eq!(u64::from(TABLE_PAGES.end) * u64::from(PAGE), SIZE);
    }
}

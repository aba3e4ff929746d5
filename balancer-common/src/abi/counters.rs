//! Traffic counters.

use super::{arena, record};

/// What was seen of a backend, or of a service: the sum over its backends, those it once had among them. Bytes are those of the
/// IP packet as it arrived, header included (IPv4 total length; IPv6 payload length plus 40), so they match what the two ends
/// count whatever the link adds.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets forwarded from clients.
    pub packets: u64,
    /// Bytes forwarded from clients.
    pub bytes: u64,
    /// Flows that began.
    pub new_flows: u64,
    /// Packets returned to clients.
    pub reply_packets: u64,
    /// Bytes returned to clients.
    pub reply_bytes: u64,
}
record!(
    Traffic {
        packets,
        bytes,
        new_flows,
        reply_packets,
        reply_bytes
    },
    40
);

impl Traffic {
    /// Counts a packet of `length` bytes from a client.
    #[inline(always)]
    pub const fn add_packet(&mut self, length: u32) {
        self.packets += 1;
        self.bytes += length as u64;
    }

    /// Counts a flow that begins.
    #[inline(always)]
    pub const fn add_flow(&mut self) {
        self.new_flows += 1;
    }

    /// Counts a packet of `length` bytes to a client.
    #[inline(always)]
    pub const fn add_reply(&mut self, length: u32) {
        self.reply_packets += 1;
        self.reply_bytes += length as u64;
    }
}

/// What one CPU has seen, in a cache line of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuTraffic {
    /// What it has seen.
    pub traffic: Traffic,
    /// Always zero.
    pub _padding: [u64; 3],
}
record!(CpuTraffic { traffic, _padding }, 64);

/// Where counters stand: of each CPU those of the backends by index, then nothing up to the next page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterLayout {
    /// How many counters each CPU has.
    pub of_cpu: u32,
}

impl CounterLayout {
    /// For so many indices of backends.
    pub const fn new(backends: u32) -> Self {
        Self {
            of_cpu: backends.next_multiple_of(arena::PAGE / size_of::<CpuTraffic>() as u32),
        }
    }

    /// The number of a CPU's counters of a backend.
    #[inline(always)]
    pub const fn of_backend(self, cpu: u32, index: u32) -> u32 {
        cpu * self.of_cpu + index
    }
}

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.new_flows += other.new_flows;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }
}

impl core::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn packets_and_replies_are_counted_apart() {
        let mut traffic = Traffic::default();
        traffic.add_packet(60);
        traffic.add_flow();
        traffic.add_packet(1_500);
        traffic.add_reply(40);
        assert_eq!(
            traffic,
            Traffic {
                packets: 2,
                bytes: 1_560,
                new_flows: 1,
                reply_packets: 1,
                reply_bytes: 40,
            }
        );
    }

    #[test]
    fn the_sum_over_the_cpus_has_each_field_of_each() {
        let cpu = |base| Traffic {
            packets: base,
            bytes: base * 10,
            new_flows: base * 100,
            reply_packets: base * 1_000,
            reply_bytes: base * 10_000,
        };
        assert_eq!([1, 2, 4].map(cpu).into_iter().sum::<Traffic>(), cpu(7));
        assert_eq!(core::iter::empty().sum::<Traffic>(), Traffic::default());
    }

    #[test]
    fn nobody_shares_counters_and_no_cpus_share_a_page() {
        let (backends, cpus) = (70_u32, 3_u32);
        let layout = CounterLayout::new(backends);
        let mut numbers = BTreeSet::new();
        for cpu in 0..cpus {
            numbers.extend((0..backends).map(|index| layout.of_backend(cpu, index)));
            assert_eq!(numbers.len(), ((cpu + 1) * backends) as usize);
            assert!(numbers.last() < Some(&((cpu + 1) * layout.of_cpu)));
        }
        assert!((layout.of_cpu * size_of::<CpuTraffic>() as u32).is_multiple_of(arena::PAGE));
    }
}

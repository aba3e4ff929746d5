//! How busy a backend is.

use super::record;

/// How many flows a backend has for its weight. It is kept for the backends of services that give new flows to the emptier
/// of two.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Remembered flows that have not ended, give or take those of a moment. Less than 2^32, of whatever width: the width is
    /// what BPF programs add to atomically.
    pub flows: u64,
    /// The backend's weight; 0 where flows are not counted.
    pub weight: u32,
    /// Always zero.
    pub _padding: u32,
}

record!(
    Load {
        flows,
        weight,
        _padding
    },
    16
);

impl Load {
    /// Whether a backend with this load has fewer flows for its weight than one with the other.
    #[inline(always)]
    pub const fn is_lighter_than(&self, other: &Self) -> bool {
        self.flows.wrapping_mul(other.weight as u64) < other.flows.wrapping_mul(self.weight as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_flows_for_the_weight_are_lighter() {
        let load = |flows, weight| Load {
            flows,
            weight,
            ..Load::default()
        };
        for (lighter, heavier) in [
            (load(1, 100), load(2, 100)),
            (load(0, 1), load(1, 1_000)),
            (load(19, 200), load(10, 100)),
            (load(u32::MAX as u64 - 1, u32::MAX), load(u32::MAX as u64, u32::MAX)),
        ] {
            assert!(lighter.is_lighter_than(&heavier));
            assert!(!heavier.is_lighter_than(&lighter));
        }
        assert!(!load(20, 200).is_lighter_than(&load(10, 100)));
    }

    #[test]
    fn a_backend_without_weight_is_lighter_than_none() {
        assert!(!Load::default().is_lighter_than(&Load {
            weight: 100,
            flows: 9,
            ..Load::default()
        }));
        assert!(!Load::default().is_lighter_than(&Load::default()));
    }
}

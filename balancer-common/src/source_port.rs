//! Which source address and port a new flow under full NAT tries, and in which order.
//!
//! Each flow has an order of its own, in which every address and port is as likely as any other at every try. So flows
//! that begin at once seldom want the same, and of `TRIES` tries all fail with a probability of the share of the ports in
//! use to the power of `TRIES`: 0.08 % at 80 % in use. Which of several flows gets a port is for the table to say in which
//! they all note it.

use crate::{
    abi::{FlowKey, Port},
    hash,
};

/// How many addresses and ports a flow tries before it is refused.
pub const TRIES: u32 = 32;

/// A number for a flow, from which its order follows.
#[inline(always)]
pub const fn seed(flow: &FlowKey) -> u64 {
    let [c0, c1] = flow.client_port;
    let [s0, s1] = flow.service_port;
    hash::words(flow.client.words(), u32::from_ne_bytes([c0, c1, s0, s1]))
}

/// The try number `attempt` of a flow of the service with index `service`: which of so many addresses, and which of the
/// ports from `first` to `last`. `None` if there are no addresses or no ports.
#[inline(always)]
pub const fn candidate(
    seed: u64,
    service: u32,
    attempt: u32,
    addresses: u32,
    (first, last): (u16, u16),
) -> Option<(u32, Port)> {
    if last < first || addresses == 0 {
        return None;
    }
    let hash = hash::words([seed, service as u64], attempt);
    let port = first + hash::scale((hash >> 32) as u32, (last - first) as u32 + 1) as u16;
    Some((hash::scale(hash as u32, addresses), port.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Address;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SERVICE: u32 = 7;

    fn flow(client: u32, port: u16) -> FlowKey {
        FlowKey {
            client: Address::v4(client.to_be_bytes()),
            service: SERVICE,
            client_port: port.to_be_bytes(),
            service_port: 443_u16.to_be_bytes(),
        }
    }

    fn tries(flow: &FlowKey, addresses: u32, ports: (u16, u16)) -> Vec<(u32, Port)> {
        let seed = seed(flow);
        let tries = (0..TRIES).map(|attempt| candidate(seed, SERVICE, attempt, addresses, ports));
        tries.collect::<Option<_>>().unwrap()
    }

    #[test]
    fn flows_of_one_client_spread_evenly_over_addresses_and_ports_at_every_try() {
        let (addresses, ports) = (3, (1_024, 1_123));
        let cells = f64::from(addresses) * 100.0;
        for attempt in [0, 1, TRIES - 1] {
            let mut counts: HashMap<_, u32> = HashMap::new();
            for port in 0..60_000 {
                let tries = tries(&flow(0x0a01_0002, port), addresses, ports);
                *counts.entry(tries[attempt as usize]).or_default() += 1;
            }
            let expected = 60_000.0 / cells;
            let chi: f64 = counts
                .values()
                .map(|&count| (f64::from(count) - expected).powi(2) / expected)
                .sum();
            assert!(
                counts.len() == 300 && chi < cells + 5.0 * (2.0 * cells).sqrt(),
                "{attempt}: {chi}"
            );
        }
    }

    #[test]
    fn every_flow_has_an_order_of_its_own() {
        let all = (1_024, 32_767);
        let one = tries(&flow(1, 40_000), 2, all);
        assert_eq!(one, tries(&flow(1, 40_000), 2, all));
        for other in [
            flow(2, 40_000),
            flow(1, 40_001),
            FlowKey {
                service_port: [0, 80],
                ..flow(1, 40_000)
            },
        ] {
            let same = one.iter().zip(tries(&other, 2, all)).filter(|(a, b)| *a == b).count();
            assert!(same <= 1, "{other:?}");
        }
        let elsewhere = candidate(seed(&flow(1, 40_000)), SERVICE + 1, 0, 2, all);
        assert_ne!(elsewhere, Some(one[0]));
    }

    #[test]
    fn without_addresses_or_ports_there_is_nothing_to_try() {
        assert_eq!(candidate(1, SERVICE, 0, 0, (1_024, 32_767)), None);
        assert_eq!(candidate(1, SERVICE, 0, 1, (1_024, 1_023)), None);
    }

    proptest! {
        #[test]
        fn only_what_there_is_gets_tried(
            seed in any::<u64>(),
            attempt in any::<u32>(),
            addresses in 1_u32..=32,
            (low, high) in any::<(u16, u16)>(),
        ) {
            let (first, last) = (low.min(high), low.max(high));
            let (address, port) = candidate(seed, SERVICE, attempt, addresses, (first, last)).unwrap();
            prop_assert!(address < addresses);
            prop_assert!((first..=last).contains(&u16::from_be_bytes(port)));
        }
    }
}

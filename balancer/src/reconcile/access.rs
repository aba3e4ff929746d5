//! Source lists, from one set to the next without a gap.
//!
//! Packets look in a trie for the longest prefix of their source, in which each entry has an answer for either of two
//! [`Generation`]s of a service's lists. The service's record says which one counts. A new set comes to count in three steps:
//!
//! 1. Every prefix of either set gets both answers. One that is new gets for the present generation the answer of the longest
//!    prefix that covers it there, and one that is gone the same for the next generation, so neither changes anything.
//! 2. The record turns to the next generation: the whole new set counts, by one write.
//! 3. When no packet is under way that has read the old record, what only the old set needed goes.
//!
//! Whatever is interrupted is seen in what the maps hold, and the next difference completes it.

use std::{collections::BTreeMap, iter};

use balancer_common::abi::{Access, ClientPrefix, Generation};
use ipnet::IpNet;

use super::PrefixKey;
use crate::config::Sources;

#[cfg(test)]
mod tests;

/// What is to be done for one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// The generation that the service's record is to name then; `None` for no lists.
    pub(super) generation: Option<Generation>,
    /// What has to be there before the record is written.
    pub(super) before: Vec<(PrefixKey, Access)>,
    /// What is to be written when nobody goes by the old record any more.
    pub(super) after: Vec<(PrefixKey, Access)>,
    /// What is to be removed then.
    pub(super) gone: Vec<PrefixKey>,
}

/// The turn of the service with index `index` from what is `held`, of which the generation `present` counts, to `lists`.
pub(super) fn turn(
    index: u32,
    held: &BTreeMap<PrefixKey, Access>,
    present: Option<Generation>,
    lists: Option<&Sources>,
) -> Turn {
    let held: Vec<_> = of_service(held, index).collect();
    let Some(lists) = lists else {
        return Turn {
            gone: held.into_iter().map(|(key, _)| key).collect(),
            ..Turn::default()
        };
    };
    let wanted = wanted(index, lists);
    if let Some(generation) = present
        && is_reached(&held, &wanted)
    {
        return Turn {
            generation: Some(generation),
            ..Turn::default()
        };
    }
    let now = present.unwrap_or(Generation::Even);
    let next = now.next();
    let mut differs = present.is_none();
    let (mut before, mut after, mut settled, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Prefix {
        key,
        held,
        wanted,
        answers,
    } in merge(held, wanted, now)
    {
        differs |= answers.0 != answers.1;
        let both = Access::always(answers.1).with(now, answers.0);
        if held != Some(both) {
            before.push((key, both));
        }
        if !wanted {
            gone.push(key);
            continue;
        }
        let last = Access::always(answers.1);
        if both != last {
            after.push((key, last));
        }
        if held != Some(last) {
            settled.push((key, last));
        }
    }
    if differs {
        Turn {
            generation: Some(next),
            before,
            after,
            gone,
        }
    } else {
        // The sets say the same of every client: there is nothing to turn to.
        Turn {
            generation: Some(now),
            before: Vec::new(),
            after: settled,
            gone,
        }
    }
}

/// The entries of the services that are not among `indices`.
pub(super) fn of_others(
    held: &BTreeMap<PrefixKey, Access>,
    is_kept: impl Fn(u32) -> bool,
) -> impl Iterator<Item = PrefixKey> {
    let keys = held.keys();
    keys.filter(move |key| !is_kept(u32::from_be_bytes(key.prefix.service)))
        .copied()
}

fn of_service(held: &BTreeMap<PrefixKey, Access>, index: u32) -> impl Iterator<Item = (PrefixKey, Access)> {
    let service = index.to_be_bytes();
    let end = |client, bits| PrefixKey {
        prefix: ClientPrefix { service, client },
        bits,
    };
    let range = held.range(end([0; 16], 0)..=end([u8::MAX; 16], u32::MAX));
    range.map(|(&key, &access)| (key, access))
}

/// What a set says of each of its prefixes, in order. The first one covers every client.
fn wanted(index: u32, lists: &Sources) -> Vec<(PrefixKey, bool)> {
    let named = |nets: &[IpNet], answer| {
        nets.iter()
            .map(move |net| (key(index, net), answer))
            .collect::<Vec<_>>()
    };
    let mut wanted = named(&lists.allow, true);
    wanted.extend(named(&lists.deny, false));
    wanted.sort_unstable();
    let everybody = PrefixKey {
        prefix: ClientPrefix {
            service: index.to_be_bytes(),
            client: [0; 16],
        },
        bits: ClientPrefix::SERVICE_BITS,
    };
    if wanted.first().is_none_or(|(first, _)| *first != everybody) {
        wanted.insert(0, (everybody, lists.admits_others()));
    }
    wanted
}

fn key(index: u32, net: &IpNet) -> PrefixKey {
    /// Bits before an IPv4 address in its mapped form.
    const BEFORE_V4: u32 = 96;
    let before = if net.addr().is_ipv4() { BEFORE_V4 } else { 0 };
    PrefixKey {
        prefix: ClientPrefix::new(index, net.network().into()),
        bits: ClientPrefix::SERVICE_BITS + before + u32::from(net.prefix_len()),
    }
}

fn is_reached(held: &[(PrefixKey, Access)], wanted: &[(PrefixKey, bool)]) -> bool {
    let last = wanted.iter().map(|&(key, answer)| (key, Access::always(answer)));
    held.iter().copied().eq(last)
}

/// A prefix of either set.
struct Prefix {
    key: PrefixKey,
    held: Option<Access>,
    /// Whether the new set has it.
    wanted: bool,
    /// What the two sets say of its clients, as far as no longer prefix covers them: that which counts, and the new one.
    answers: (bool, bool),
}

/// Every prefix of either set, in order.
fn merge(
    held: Vec<(PrefixKey, Access)>,
    wanted: Vec<(PrefixKey, bool)>,
    now: Generation,
) -> impl Iterator<Item = Prefix> {
    let mut held = held.into_iter().peekable();
    let mut wanted = wanted.into_iter().peekable();
    // Those that cover the next prefix, each within the one before.
    let mut covering: Vec<(PrefixKey, (bool, bool))> = Vec::new();
    iter::from_fn(move || {
        let keys = [held.peek().map(|(key, _)| *key), wanted.peek().map(|(key, _)| *key)];
        let key = keys.into_iter().flatten().min()?;
        let held = held.next_if(|(other, _)| *other == key).map(|(_, access)| access);
        let wanted = wanted.next_if(|(other, _)| *other == key).map(|(_, answer)| answer);
        while covering.pop_if(|(other, _)| !covers(*other, key)).is_some() {}
        let above = covering.last().map(|(_, answers)| *answers);
        // The first prefix of a set covers all others; before a service has lists, nothing counts.
        let then = wanted.or(above.map(|(_, then)| then)).unwrap_or(false);
        let now = held.map(|access| access.allows(now)).or(above.map(|(now, _)| now));
        let answers = (now.unwrap_or(then), then);
        covering.push((key, answers));
        Some(Prefix {
            key,
            held,
            wanted: wanted.is_some(),
            answers,
        })
    })
}

/// Whether every client of `inner` is one of `outer`, of the same service.
fn covers(outer: PrefixKey, inner: PrefixKey) -> bool {
    let bits = |key: PrefixKey| u128::from_be_bytes(key.prefix.client);
    let length = outer.bits - ClientPrefix::SERVICE_BITS;
    let differing = (bits(outer) ^ bits(inner)).checked_shr(u128::BITS - length);
    outer.bits <= inner.bits && differing.unwrap_or(0) == 0
}

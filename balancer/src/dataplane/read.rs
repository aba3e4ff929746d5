//! Reading back what the maps hold, for a daemon that takes over a data plane.

use std::collections::{BTreeMap, HashMap};

use aya::maps::{MapError, lpm_trie};
use balancer_common::abi::{Access, Backend, ClientPrefix, Service};

use super::{Capacity, apply::write_endpoints, maps::Maps, syscall};
use crate::{
    perfect_hash,
    reconcile::{BackendEntry, Index, PrefixKey, ServiceEntry, State},
    shortcuts::Shortcuts,
    strangers::Strangers,
};

/// The endpoint table, after clearing what a crash may have left half written.
pub(super) fn endpoints(maps: &mut Maps, capacity: Capacity) -> anyhow::Result<perfect_hash::Table> {
    let seeds = maps.endpoint_seeds.all()?;
    let entries = maps.endpoints.all()?;
    let (table, repairs) = perfect_hash::Table::from_kernel(capacity.endpoints(), seeds, entries)?;
    write_endpoints(maps, &repairs)?;
    Ok(table)
}

/// Who means nothing to the data plane, told to the program, which after it was loaded takes everybody for somebody.
pub(super) fn strangers(maps: &mut Maps, endpoints: &perfect_hash::Table) -> anyhow::Result<Strangers> {
    let strangers: Strangers = endpoints.iter().map(|(key, _)| key).collect();
    maps.strangers.set(0, strangers.table(), 0)?;
    Ok(strangers)
}

/// The shortcuts to the endpoints.
pub(super) fn shortcuts(maps: &Maps, endpoints: &perfect_hash::Table) -> anyhow::Result<Shortcuts> {
    // Nobody may still be comparing a key that the last daemon has taken away.
    syscall::wait_for_packets()?;
    let present = maps.shortcuts.all()?;
    let (shortcuts, writes) = Shortcuts::take_over((0..).zip(present), &endpoints.iter().collect());
    for (place, endpoint) in writes {
        maps.shortcuts.set(place, &endpoint)?;
    }
    Ok(shortcuts)
}

/// The state of the maps. Which backends a published table was made from is not known.
pub(super) fn state(maps: &Maps, endpoints: &perfect_hash::Table) -> anyhow::Result<State> {
    let mut services = BTreeMap::new();
    for (index, name) in (0..).zip(maps.service_names.iter()) {
        if let Some(name) = name?.text() {
            let record: Service = maps.services.get(index)?;
            let record = (record != Service::VACANT).then_some(record);
            services.insert(index, ServiceEntry { name, record });
        }
    }
    let mut backends = BTreeMap::new();
    let mut vacated = HashMap::new();
    for (index, name) in (0..).zip(maps.backend_names.iter()) {
        let record: Backend = maps.backends.get(index)?;
        match name?.text() {
            Some(name) => {
                backends.insert(index, BackendEntry { name, record });
            }
            None if record.incarnation != 0 => {
                vacated.insert(index, record.incarnation);
            }
            None => {}
        }
    }
    let pins = maps.pins.iter().map(|entry| {
        let (key, pin) = entry?;
        Ok((prefix_key(key), pin))
    });
    let mut access = BTreeMap::new();
    syscall::for_each(maps.access.fd(), |key: &lpm_trie::Key<ClientPrefix>, value: &Access| {
        access.insert(prefix_key(*key), *value);
    })?;
    Ok(State {
        index: Index::of(&services, &backends),
        access,
        pins: pins.collect::<Result<_, MapError>>()?,
        services,
        backends,
        vacated,
        endpoints: endpoints.iter().collect(),
        tables: HashMap::new(),
        sources: maps.source_pools.iter().collect::<Result<_, _>>()?,
    })
}

fn prefix_key(key: lpm_trie::Key<ClientPrefix>) -> PrefixKey {
    PrefixKey {
        prefix: key.data(),
        bits: key.prefix_len(),
    }
}

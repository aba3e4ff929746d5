//! Carrying out operations.

use aya::maps::{MapError, lpm_trie};
use balancer_common::{
    abi::{Backend, ClientPrefix, Failures, Load, Selection, Service},
    token_bucket::TokenBucket,
};

use super::{Dataplane, arena::Records, maps::Maps, name::Name, syscall, tables::Publishing};
use crate::{
    perfect_hash::Write,
    reconcile::{Operation, PrefixKey, Table},
};

impl Dataplane {
    /// Carries out `operations` in their order, and replaces each table whole. After an error some of them have been carried
    /// out, and [`state`](Self::state) is what the maps then hold.
    pub fn apply(&mut self, operations: Vec<Operation>) -> anyhow::Result<()> {
        self.carry_out_all(operations, Publishing::Whole)
    }

    /// Does as [`apply`](Self::apply), but changes the owners of slots in the tables that packets read: sooner, and not for all
    /// clients at one moment.
    pub fn apply_in_place(&mut self, operations: Vec<Operation>) -> anyhow::Result<()> {
        self.carry_out_all(operations, Publishing::InPlace)
    }

    fn carry_out_all(&mut self, operations: Vec<Operation>, publishing: Publishing) -> anyhow::Result<()> {
        if operations.is_empty() {
            return Ok(());
        }
        self.generation += 1;
        self.maps.generation.set(0, self.generation, 0)?;
        for operation in operations {
            if let Err(error) = self.carry_out(&operation, publishing) {
                self.read_back()?;
                return Err(error.context(format!("cannot {operation}")));
            }
            self.state.apply(operation);
        }
        Ok(())
    }

    fn carry_out(&mut self, operation: &Operation, publishing: Publishing) -> anyhow::Result<()> {
        let maps = &mut self.maps;
        match operation {
            Operation::ClaimService { index, name } => {
                // The name comes first: an index with a name and without a record is seen to be half claimed.
                maps.service_names.set(*index, Name::new(name), 0)?;
                maps.counters.reset_service(*index)?;
                maps.service_budgets.set(*index, TokenBucket::default(), 0)?;
            }
            Operation::WriteService { index, record } => {
                maps.services.set(*index, record)?;
            }
            Operation::WriteSources { index, pool } => maps.source_pools.insert(index, **pool, 0)?,
            Operation::RemoveSources { index } => maps.source_pools.remove(index)?,
            Operation::ReleaseService { index } => {
                maps.services.set(*index, &Service::VACANT)?;
                maps.tables.clear(*index)?;
                maps.service_names.set(*index, Name::FREE, 0)?;
            }
            Operation::ClaimBackend { index, name } => {
                maps.backend_names.set(*index, Name::new(name), 0)?;
                maps.counters.reset_backend(*index)?;
                maps.failures.set(*index, Failures::default(), 0)?;
            }
            Operation::RenameBackend { index, name } => maps.backend_names.set(*index, Name::new(name), 0)?,
            Operation::WriteBackend { index, record } => maps.backends.set(*index, record)?,
            Operation::ReleaseBackend { index } => {
                let last = self.state.backends.get(index).map(|backend| backend.record);
                let record = Backend {
                    incarnation: last.map_or(0, |last| last.incarnation),
                    ..Backend::VACANT
                };
                // Before, so that nothing is lost if this process is killed between the two, and after, since packets go on.
                let keep_counters = || last.map_or(Ok(()), |last| maps.counters.keep(last.service, *index));
                keep_counters()?;
                maps.backends.set(*index, &record)?;
                keep_counters()?;
                maps.loads.set(*index, &Load::default())?;
                maps.backend_names.set(*index, Name::FREE, 0)?;
            }
            Operation::Bind { key, target } => {
                let is_new = self.endpoints.get(key).is_none();
                let writes = self.endpoints.insert(*key, *target)?;
                if is_new && self.strangers.meet(key) {
                    maps.strangers.set(0, self.strangers.table(), 0)?;
                }
                write_endpoints(maps, &writes)?;
                if let Some((place, endpoint)) = self.shortcuts.bind(key, *target) {
                    maps.shortcuts.set(place, &endpoint)?;
                }
            }
            Operation::Unbind { key } => {
                let target = self.endpoints.get(key);
                if let Some((place, endpoint)) = target.and_then(|target| self.shortcuts.unbind(key, target)) {
                    maps.shortcuts.set(place, &endpoint)?;
                }
                let writes = self.endpoints.remove(key);
                write_endpoints(maps, &writes)?;
                if target.is_some() && self.strangers.forget(key) {
                    maps.strangers.set(0, self.strangers.table(), 0)?;
                }
            }
            Operation::WritePin { key, pin } => maps.pins.insert(&trie_key(*key), pin, 0)?,
            Operation::RemovePin { key } => match maps.pins.remove(&trie_key(*key)) {
                Err(MapError::KeyNotFound) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            },
            Operation::WriteAccess { entries } => {
                let (keys, values): (Vec<_>, Vec<_>) =
                    entries.iter().map(|(key, access)| (trie_key(*key), *access)).unzip();
                syscall::update_all(maps.access.fd(), &keys, &values)?;
            }
            Operation::RemoveAccess { keys } => {
                let keys: Vec<_> = keys.iter().copied().map(trie_key).collect();
                syscall::delete_all(maps.access.fd(), &keys)?;
            }
            Operation::Settle => {
                syscall::wait_for_packets()?;
                self.shortcuts.settle();
                let writes = self.endpoints.settle();
                write_endpoints(maps, &writes)?;
            }
            Operation::PublishTables { tables } => {
                for (_, table) in tables {
                    weigh(&maps.loads, table)?;
                }
                let now = self.now()?;
                self.maps.tables.publish(tables, now, publishing)?;
            }
        }
        Ok(())
    }
}

/// Has the flows of the table's backends counted where new ones depend on that.
fn weigh(loads: &Records<Load>, table: &Table) -> anyhow::Result<()> {
    if table.selection == Selection::LeastFlows {
        for candidate in &table.candidates {
            let load = Load {
                weight: candidate.weight,
                ..loads.get(candidate.value)?
            };
            loads.set(candidate.value, &load)?;
        }
    }
    Ok(())
}

fn trie_key(key: PrefixKey) -> lpm_trie::Key<ClientPrefix> {
    lpm_trie::Key::new(key.bits, key.prefix)
}

/// Writes changes of the endpoint table, in their order.
pub(super) fn write_endpoints(maps: &mut Maps, writes: &[Write]) -> anyhow::Result<()> {
    for write in writes {
        match write {
            Write::Entry { index, entry } => maps.endpoints.set(*index, entry)?,
            Write::Seed { bucket, seed } => maps.endpoint_seeds.set(*bucket, seed)?,
            Write::Barrier => syscall::wait_for_packets()?,
        }
    }
    Ok(())
}

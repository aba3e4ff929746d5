//! Reading and changing what the data plane remembers of flows.

use anyhow::Context as _;
use balancer_common::abi::{Flow, FlowKey};

use super::{Dataplane, syscall};

impl Dataplane {
    /// Calls `visit` with every remembered flow. Flows that come or go meanwhile may be missed.
    pub fn for_each_flow(&self, visit: impl FnMut(&FlowKey, &Flow)) -> anyhow::Result<()> {
        syscall::for_each(self.maps.flows.fd(), visit).context("cannot read the flow table")
    }

    /// Forgets the flows for which `chosen` holds. Returns how many.
    pub fn flush_flows(&mut self, chosen: impl Fn(&FlowKey, &Flow) -> bool) -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        self.for_each_flow(|key, flow| {
            if chosen(key, flow) {
                keys.push(*key);
            }
        })?;
        let removed = syscall::delete_all(self.maps.flows.fd(), &keys).context("cannot write the flow table")?;
        self.count_removed(removed)?;
        Ok(removed)
    }

    /// Gives the remembered flows of one backend to another. Returns how many.
    pub fn migrate_flows(&mut self, from: u32, to: u32) -> anyhow::Result<u64> {
        let owner = |backend| {
            let entry = self.state.backends.get(&backend)?;
            Some(Flow {
                backend,
                incarnation: entry.record.incarnation,
            })
        };
        let (Some(from), Some(to)) = (owner(from), owner(to)) else {
            return Ok(0);
        };
        let mut keys = Vec::new();
        self.for_each_flow(|key, flow| {
            if *flow == from {
                keys.push(*key);
            }
        })?;
        syscall::update_all(self.maps.flows.fd(), &keys, &vec![to; keys.len()])
            .context("cannot write the flow table")?;
        Ok(keys.len() as u64)
    }

    fn count_removed(&mut self, flows: u64) -> anyhow::Result<()> {
        let removed = self.maps.flows_removed.get(&0, 0)?;
        self.maps.flows_removed.set(0, removed + flows, 0)?;
        Ok(())
    }
}

//! The flow table, entry by entry.

use anyhow::Context as _;
use balancer_common::abi::{Flow, FlowKey};

use super::{Dataplane, syscall};

impl Dataplane {
    /// Calls `visit` with every remembered flow. Flows that come or go meanwhile may be missed.
    pub fn for_each_flow(&self, visit: impl FnMut(&FlowKey, &Flow)) -> anyhow::Result<()> {
        syscall::for_each(self.maps.flows.fd(), visit).context("cannot read the flow table")
    }
}

//! The next hops of backends, kept fresh through rtnetlink (rtnetlink(7)).
//!
//! The data plane sends packets by the next hop in a backend's record and asks no routing table. So the daemon asks
//! beforehand, has the kernel resolve the neighbours on the way, and follows what the kernel tells of routes,
//! neighbours and interfaces. Packets that the data plane sends do not count as use of a neighbour in the kernel: that
//! neighbours are confirmed now and then, and by that noticed to have moved, is this module's doing too.

mod interfaces;
mod netlink;
mod pursuit;
mod requests;
mod resolve;
mod table;
mod watcher;

use std::{collections::HashSet, net::IpAddr};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use interfaces::{AttachedMode, Interface, Interfaces, XdpProgram, interface_name};
pub use resolve::{Unreachable, Way};

use netlink::Kernel;
use table::Neighbor;
use watcher::Watcher;

/// Requests of the data plane that may wait to be looked at.
const WAITING_REQUESTS: usize = 256;

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// How packets get to a watched destination, or why they can't: once for each destination that is newly watched,
    /// and then whenever it changes.
    Way {
        /// The destination.
        destination: IpAddr,
        /// The way there.
        result: Result<Way, Unreachable>,
    },
    /// What was remembered of any route, watched or not, may no longer be right.
    RoutesChanged,
}

/// The neighbours of this host: follows the kernel until dropped.
#[derive(Debug)]
pub struct Neighbors {
    destinations: watch::Sender<HashSet<IpAddr>>,
    requests: mpsc::Sender<Neighbor>,
    _watcher: JoinSet<()>,
}

impl Neighbors {
    /// Begins to follow the kernel, in the network namespace of the calling thread; every worker of the Tokio runtime
    /// must be in the same one.
    ///
    /// The channel of `events` closes when netlink fails for good, with the reason in the log.
    pub async fn start(events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let (destinations, wanted) = watch::channel(HashSet::new());
        let (requests, requested) = mpsc::channel(WAITING_REQUESTS);
        let watcher = Watcher::start(wanted, requested, events).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            if let Err(error) = watcher.run().await {
                tracing::error!("next hops are not kept up to date any more: {error:#}");
            }
        });
        Ok(Self {
            destinations,
            requests,
            _watcher: tasks,
        })
    }

    /// Makes `destinations` the ones that are watched.
    pub fn watch(&self, destinations: HashSet<IpAddr>) {
        self.destinations.send_replace(destinations);
    }

    /// Has the neighbour with this address on the interface with this index resolved, for the data plane that lacks
    /// its MAC. Requests may be repeated at any rate: the data plane drops the packet and asks again with the next.
    pub fn request(&self, interface: u32, address: IpAddr) {
        let neighbor = Neighbor { interface, address };
        if let Err(error) = self.requests.try_send(neighbor) {
            tracing::debug!(%address, interface, "request for a neighbour dropped: {error}");
        }
    }
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: IpAddr,
    /// Index of the interface that has it.
    pub interface: u32,
    /// Bits of it that say which network it is in.
    pub prefix_length: u8,
}

/// Asks the kernel for the addresses of this host, in the network namespace of the calling thread.
pub async fn addresses() -> anyhow::Result<Vec<HostAddress>> {
    let kernel = Kernel::connect().context("cannot open a netlink socket")?;
    kernel.addresses().await
}

/// Asks the kernel for the network interfaces, in the network namespace of the calling thread.
pub async fn interfaces() -> anyhow::Result<Interfaces> {
    let kernel = Kernel::connect().context("cannot open a netlink socket")?;
    kernel.interfaces().await
}

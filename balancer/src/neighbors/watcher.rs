//! The task that follows the kernel: takes in what it tells, asks anew what that may have changed, reports the rest.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    Event, Interfaces, Unreachable, Way,
    netlink::{Kernel, Notification, Notifications},
    pursuit::Pursuits,
    requests::Requests,
    resolve::{self, Route},
    table::{Change, Neighbor, NeighborTable, Resolution},
};

/// How long to gather notifications after the first: one change in the kernel often makes a burst of them.
const BURST: Duration = Duration::from_millis(3);
/// Time between two complete readings of the kernel's state. They find what it doesn't tell (some routes vanish
/// silently with their interface or address, others are replaced by ICMP redirects) and confirm neighbours on kernels
/// that don't do so by themselves.
const RENEWAL: Duration = Duration::from_secs(30);

/// A destination and what is known of it.
struct Watched {
    route: Route,
    /// What the caller was told last.
    reported: Option<Result<Way, Unreachable>>,
}

/// The routes that have to be asked for anew.
#[derive(Default)]
struct Stale {
    all: bool,
    prefixes: Vec<IpNet>,
}

impl Stale {
    fn covers(&self, destination: IpAddr) -> bool {
        self.all || self.prefixes.iter().any(|prefix| prefix.contains(&destination))
    }
}

/// The state of the task.
pub(super) struct Watcher {
    kernel: Kernel,
    notifications: Notifications,
    destinations: watch::Receiver<HashSet<IpAddr>>,
    requests: mpsc::Receiver<Neighbor>,
    events: mpsc::Sender<Event>,
    interfaces: Interfaces,
    neighbors: NeighborTable,
    watched: HashMap<IpAddr, Watched>,
    pursuits: Pursuits,
    requested: Requests,
}

impl Watcher {
    /// Opens the netlink sockets and reads the kernel's state.
    pub(super) async fn start(
        destinations: watch::Receiver<HashSet<IpAddr>>,
        requests: mpsc::Receiver<Neighbor>,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let mut watcher = Self {
            kernel: Kernel::connect().context("cannot open a netlink socket")?,
            notifications: subscribe()?,
            destinations,
            requests,
            events,
            interfaces: Interfaces::default(),
            neighbors: NeighborTable::default(),
            watched: HashMap::new(),
            pursuits: Pursuits::default(),
            requested: Requests::default(),
        };
        watcher.read().await?;
        Ok(watcher)
    }

    /// Follows the kernel until the caller has lost interest.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut renewal = time::interval_at(Instant::now() + RENEWAL, RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.pursuits.next_due();
            tokio::select! {
                () = self.events.closed() => return Ok(()),
                changed = self.destinations.changed() => match changed {
                    Ok(()) => self.watch().await?,
                    Err(_) => return Ok(()),
                },
                notification = self.notifications.next() => {
                    self.take_in(notification.context("the netlink socket has failed")?).await?;
                }
                Some(neighbor) = self.requests.recv() => self.request(neighbor).await?,
                () = reached(due) => {}
                _ = renewal.tick() => self.renew().await?,
            }
            self.resolve_due().await?;
        }
    }

    /// Takes over the destinations that the caller wants watched.
    async fn watch(&mut self) -> anyhow::Result<()> {
        let wanted = self.destinations.borrow_and_update().clone();
        self.watched.retain(|destination, _| wanted.contains(destination));
        let added = wanted
            .into_iter()
            .filter(|destination| !self.watched.contains_key(destination))
            .collect();
        for (destination, route) in self.kernel.routes(added).await? {
            self.watched.insert(destination, Watched { route, reported: None });
        }
        self.settle().await
    }

    /// Takes in a notification and those that follow closely.
    async fn take_in(&mut self, first: Notification) -> anyhow::Result<()> {
        time::sleep(BURST).await;
        let mut change = Change::Nothing;
        let mut stale = Stale::default();
        let mut next = Some(first);
        while let Some(notification) = next {
            change = change.max(match notification {
                Notification::Neighbor(neighbor, entry) => self.neighbors.observe(neighbor, entry),
                Notification::Interface(interface) => {
                    let news = self.interfaces.observe(interface);
                    stale.all |= news;
                    void_if(news)
                }
                Notification::InterfaceGone(index) => {
                    let news = self.interfaces.forget(index);
                    stale.all |= news;
                    void_if(news)
                }
                Notification::Route(prefix) => {
                    stale.prefixes.push(prefix);
                    Change::Void
                }
                Notification::Routing => {
                    stale.all = true;
                    Change::Void
                }
                Notification::Overrun => {
                    tracing::warn!("the kernel told more than could be taken in; reading its routing state anew");
                    return self.start_over(Change::Void).await;
                }
            });
            next = self.notifications.next_arrived();
        }
        self.conclude(change, &stale).await
    }

    /// Reads everything anew, be it that notifications were lost or never sent.
    async fn start_over(&mut self, change: Change) -> anyhow::Result<()> {
        // What the old subscription still holds is older than what is read now, and incomplete.
        self.notifications = subscribe()?;
        let change = change.max(self.read().await?);
        let everything = Stale {
            all: true,
            prefixes: Vec::new(),
        };
        self.conclude(change, &everything).await
    }

    /// Reads interfaces and neighbours. Returns what matters most of the differences.
    ///
    /// Notifications that arrive in the meantime are taken in afterwards, in their order, and end at the present state
    /// even if some are older than what has been read.
    async fn read(&mut self) -> anyhow::Result<Change> {
        let interfaces = self.kernel.interfaces().await?;
        let interfaces_changed = void_if(interfaces != self.interfaces);
        self.interfaces = interfaces;
        let neighbors_changed = self.neighbors.replace(self.kernel.neighbors().await?);
        Ok(interfaces_changed.max(neighbors_changed))
    }

    /// Draws the conclusions: asks for the routes that are stale, and reports.
    async fn conclude(&mut self, change: Change, stale: &Stale) -> anyhow::Result<()> {
        if change == Change::Void {
            self.emit(Event::RoutesChanged).await;
        }
        let covered = self.watched.keys().copied();
        let covered = covered.filter(|&destination| stale.covers(destination)).collect();
        let mut rerouted = false;
        for (destination, route) in self.kernel.routes(covered).await? {
            if let Some(watched) = self.watched.get_mut(&destination) {
                rerouted |= route != watched.route;
                watched.route = route;
            }
        }
        if rerouted && change != Change::Void {
            self.emit(Event::RoutesChanged).await;
        }
        if rerouted || change != Change::Nothing {
            self.settle().await?;
        }
        Ok(())
    }

    /// Brings everything that follows from routes, interfaces and neighbours in line with them.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let wanted: HashSet<Neighbor> = self
            .watched
            .iter()
            .filter_map(|(&destination, watched)| resolve::neighbor(destination, watched.route, &self.interfaces).ok())
            .collect();
        let released = self.pursuits.pursue(&wanted, now);
        self.pursuits
            .update(|neighbor| self.neighbors.resolution(neighbor), now);
        self.report().await;
        for neighbor in released {
            self.resolve(neighbor).await?;
        }
        Ok(())
    }

    /// Tells the caller which ways have changed.
    async fn report(&mut self) {
        let resolution = |neighbor| match self.neighbors.resolution(neighbor) {
            Resolution::Pending if self.pursuits.is_silent(neighbor) => Resolution::Failed,
            resolution => resolution,
        };
        let mut events = Vec::new();
        for (&destination, watched) in &mut self.watched {
            let result = resolve::way(destination, watched.route, &self.interfaces, resolution);
            if watched.reported.as_ref() != Some(&result) {
                watched.reported = Some(result.clone());
                events.push(Event::Way { destination, result });
            }
        }
        for event in events {
            self.emit(event).await;
        }
    }

    async fn emit(&self, event: Event) {
        if self.events.send(event).await.is_err() {
            tracing::debug!("nobody takes the events any more");
        }
    }

    /// Passes a request of the data plane on to the kernel.
    async fn request(&mut self, neighbor: Neighbor) -> anyhow::Result<()> {
        let is_known = |neighbor| is_known(&self.neighbors, neighbor);
        if self.requested.admit(neighbor, is_known, Instant::now()) {
            self.resolve(neighbor).await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        self.start_over(Change::Nothing).await?;
        self.pursuits.renew(Instant::now());
        for neighbor in self.requested.renew(|neighbor| is_known(&self.neighbors, neighbor)) {
            self.resolve(neighbor).await?;
        }
        Ok(())
    }

    async fn resolve_due(&mut self) -> anyhow::Result<()> {
        let resolution = |neighbor| self.neighbors.resolution(neighbor);
        for neighbor in self.pursuits.take_due(resolution, Instant::now()) {
            self.resolve(neighbor).await?;
        }
        Ok(())
    }

    /// Has the kernel resolve a neighbour, and go on confirming it if it is on the way to a watched destination.
    async fn resolve(&self, neighbor: Neighbor) -> anyhow::Result<()> {
        if self.neighbors.is_kept(neighbor) {
            return Ok(());
        }
        match self.kernel.resolve(neighbor, self.pursuits.contains(neighbor)).await {
            Ok(()) => Ok(()),
            // The interface may have gone in the meantime, or lack an address of the neighbour's family.
            Err(rtnetlink::Error::NetlinkError(error)) => {
                tracing::debug!(?neighbor, "the kernel does not resolve a neighbour: {error}");
                Ok(())
            }
            Err(error) => Err(error).context("cannot have a neighbour resolved"),
        }
    }
}

fn subscribe() -> anyhow::Result<Notifications> {
    Notifications::subscribe().context("cannot subscribe to route and neighbour changes")
}

fn is_known(neighbors: &NeighborTable, neighbor: Neighbor) -> bool {
    matches!(neighbors.resolution(neighbor), Resolution::Known(_))
}

fn void_if(changed: bool) -> Change {
    if changed { Change::Void } else { Change::Nothing }
}

/// Waits until `due`; for ever if that is never.
async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

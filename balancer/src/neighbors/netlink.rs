//! The conversation with the kernel: the only file that knows what netlink messages look like.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::{Pin, pin},
};

use anyhow::{Context as _, bail};
use balancer_common::abi::Mac;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, future};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{ErrorMessage, NetlinkMessage, NetlinkPayload},
};
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::{
    Interface, Interfaces,
    resolve::Route,
    table::{Entry, Neighbor, Resolution},
};

/// What may change a next hop.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// A socket for questions and their answers. It is apart from the notifications, which may overrun their socket and
/// take answers with them.
pub(super) struct Kernel {
    handle: Handle,
    _connection: JoinSet<()>,
}

impl Kernel {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self {
            handle,
            _connection: running(connection),
        })
    }

    /// Asks for the route that a packet from this host to `destination` takes.
    pub(super) async fn route(&self, destination: IpAddr) -> anyhow::Result<Route> {
        let prefix = IpNet::from(destination);
        let request = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())?
            .build();
        let mut answers = pin!(self.handle.route().get(request).execute());
        match answers.next().await {
            Some(Ok(message)) => Ok(route(&message)),
            Some(Err(rtnetlink::Error::NetlinkError(error))) => Ok(refusal(&error)),
            Some(Err(error)) => Err(error).with_context(|| format!("cannot look up the route to {destination}")),
            None => bail!("the kernel has not answered the question for the route to {destination}"),
        }
    }

    /// Asks for every interface.
    pub(super) async fn interfaces(&self) -> anyhow::Result<Interfaces> {
        let links = self.handle.link().get().execute();
        links
            .try_filter_map(|message| future::ok(interface(&message)))
            .try_collect::<Vec<_>>()
            .await
            .map(Interfaces::from_iter)
            .context("cannot list the network interfaces")
    }

    /// Asks for every neighbour of either family.
    pub(super) async fn neighbors(&self) -> anyhow::Result<HashMap<Neighbor, Entry>> {
        let neighbors = self.handle.neighbours().get().execute();
        neighbors
            .try_filter_map(|message| future::ok(neighbor(&message).zip(entry(&message))))
            .try_collect()
            .await
            .context("cannot list the neighbours")
    }

    /// Has the kernel find out or confirm the MAC of `neighbor`. With `keep` it goes on confirming it by itself, from
    /// Linux 5.16 on (older ones ignore the extended flag and still do as the plain one says); without, it stops.
    ///
    /// Not for an entry that someone else keeps: the kernel would take a permanent entry's state and an externally
    /// learned one's mark from it.
    pub(super) async fn resolve(&self, neighbor: Neighbor, keep: bool) -> Result<(), rtnetlink::Error> {
        let neighbors = self.handle.neighbours();
        let mut request = neighbors
            .add(neighbor.interface, neighbor.address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        if keep {
            request
                .message_mut()
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        request.execute().await
    }
}

/// Something that the kernel has told unasked.
#[derive(Debug)]
pub(super) enum Notification {
    /// An interface is new or has changed.
    Interface(Interface),
    /// The interface with this index has gone.
    InterfaceGone(u32),
    /// A neighbour has changed; `None` for one that has gone.
    Neighbor(Neighbor, Option<Entry>),
    /// A route to this prefix has come, changed or gone.
    Route(IpNet),
    /// A routing rule or an address of this host has come or gone, which may change any route. Of the routes that go
    /// with an address the kernel does not always tell.
    Routing,
    /// Notifications have been lost.
    Overrun,
}

/// A subscription to what may change a next hop.
pub(super) struct Notifications {
    messages: Pin<Box<dyn Stream<Item = Notification> + Send + Sync>>,
    _connection: JoinSet<()>,
}

impl Notifications {
    /// Subscribes, in the network namespace of the calling thread.
    pub(super) fn subscribe() -> io::Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        let notifications = messages.filter_map(|(message, _)| future::ready(notification(message)));
        Ok(Self {
            messages: Box::pin(notifications),
            _connection: running(connection),
        })
    }

    /// Waits for the next notification; `None` when the socket has failed.
    pub(super) async fn next(&mut self) -> Option<Notification> {
        self.messages.next().await
    }

    /// The next notification, if it has arrived already.
    pub(super) fn next_arrived(&mut self) -> Option<Notification> {
        self.messages.next().now_or_never().flatten()
    }
}

/// Lets a connection do its work for as long as what is returned lives.
fn running(connection: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    tasks
}

fn notification(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Notification> {
    use RouteNetlinkMessage::{
        DelAddress, DelLink, DelNeighbour, DelRoute, DelRule, NewAddress, NewLink, NewNeighbour, NewRoute, NewRule,
    };
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Notification::Overrun),
        _ => return None,
    };
    match message {
        NewLink(message) => interface(&message).map(Notification::Interface),
        DelLink(message) => is_of_interface(&message).then_some(Notification::InterfaceGone(message.header.index)),
        NewNeighbour(message) => neighbor(&message).map(|neighbor| Notification::Neighbor(neighbor, entry(&message))),
        DelNeighbour(message) => neighbor(&message).map(|neighbor| Notification::Neighbor(neighbor, None)),
        NewRoute(message) | DelRoute(message) => prefix(&message).map(Notification::Route),
        NewRule(_) | DelRule(_) | NewAddress(_) | DelAddress(_) => Some(Notification::Routing),
        _ => None,
    }
}

/// Whether the message is about the interface itself. Those of other families, bridges for example, tell of an
/// interface's place in them, and of its removal from there as if it had gone.
fn is_of_interface(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn interface(message: &LinkMessage) -> Option<Interface> {
    if !is_of_interface(message) {
        return None;
    }
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut interface = Interface {
        index: message.header.index,
        name: String::new(),
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => interface.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            _ => {}
        }
    }
    Some(interface)
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    Mac::try_from(bytes).ok()
}

/// The neighbour that a message is about; `None` for what is none: the forwarding entries of a bridge, and addresses
/// that this host answers for on behalf of others.
fn neighbor(message: &NeighbourMessage) -> Option<Neighbor> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    Some(Neighbor {
        interface: message.header.ifindex,
        address,
    })
}

/// What a message says of a neighbour; `None` if that is something other than a MAC.
fn entry(message: &NeighbourMessage) -> Option<Entry> {
    let mac = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
            _ => None,
        })
    };
    let state = message.header.state;
    let resolution = match state {
        NeighbourState::Permanent
        | NeighbourState::Noarp
        | NeighbourState::Reachable
        | NeighbourState::Probe
        | NeighbourState::Stale
        | NeighbourState::Delay => Resolution::Known(mac()?),
        NeighbourState::Failed => Resolution::Failed,
        _ => Resolution::Pending,
    };
    Some(Entry {
        resolution,
        kept: matches!(state, NeighbourState::Permanent | NeighbourState::Noarp)
            || message.header.flags.contains(NeighbourFlags::ExtLearned),
    })
}

fn route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Unicast => way_out(message),
        RouteType::Local => Route::Local,
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => Route::NotUnicast,
        RouteType::BlackHole => Route::Blackhole,
        RouteType::Unreachable => Route::Unreachable,
        RouteType::Prohibit => Route::Prohibited,
        _ => Route::Missing,
    }
}

fn way_out(message: &RouteMessage) -> Route {
    let mut interface = None;
    let mut gateway = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) | RouteAttribute::Via(RouteVia::Inet(address)) => {
                gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) | RouteAttribute::Via(RouteVia::Inet6(address)) => {
                gateway = Some(IpAddr::V6(*address));
            }
            RouteAttribute::EncapType(_) => return Route::Encapsulating,
            _ => {}
        }
    }
    interface.map_or(Route::Missing, |interface| Route::Unicast { interface, gateway })
}

/// What the error means with which the kernel answers a question for a route that takes no packets (the table
/// `fib_props` of the kernel's IPv4 routing; its IPv6 routing answers alike).
fn refusal(error: &ErrorMessage) -> Route {
    match Errno::from_raw_os_error(error.raw_code().saturating_neg()) {
        Errno::INVAL => Route::Blackhole,
        Errno::HOSTUNREACH => Route::Unreachable,
        Errno::ACCESS => Route::Prohibited,
        _ => Route::Missing,
    }
}

/// The destinations of a route. A default route names none.
fn prefix(message: &RouteMessage) -> Option<IpNet> {
    let named = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let address = match message.header.address_family {
        AddressFamily::Inet => named.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => named.unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
        _ => return None,
    };
    IpNet::new(address, message.header.destination_prefix_length).ok()
}

//! The conversation with the kernel: the only file that knows what netlink messages look like.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::{Pin, pin},
};

use anyhow::{Context as _, bail};
use balancer_common::abi::Mac;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, future, stream};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{ErrorMessage, NetlinkMessage, NetlinkPayload},
};
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::{
    AttachedMode, Interface, Interfaces, XdpProgram,
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

/// Questions for routes that are asked at once. Each has its answer in the socket's buffer, which must hold them all.
const QUESTIONS: usize = 32;

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

    /// Asks for the routes that packets from this host to each of `destinations` take.
    pub(super) async fn routes(&self, destinations: Vec<IpAddr>) -> anyhow::Result<Vec<(IpAddr, Route)>> {
        stream::iter(destinations)
            .map(|destination| look_up(self.handle.clone(), destination))
            .buffer_unordered(QUESTIONS)
            .try_collect()
            .await
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

async fn look_up(handle: Handle, destination: IpAddr) -> anyhow::Result<(IpAddr, Route)> {
    let prefix = IpNet::from(destination);
    let request = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(prefix.addr(), prefix.prefix_len())?
        .build();
    let mut answers = pin!(handle.route().get(request).execute());
    match answers.next().await {
        Some(Ok(message)) => Ok((destination, route(&message))),
        Some(Err(rtnetlink::Error::NetlinkError(error))) => Ok((destination, refusal(&error))),
        Some(Err(error)) => Err(error).with_context(|| format!("cannot look up the route to {destination}")),
        None => bail!("the kernel has not answered the question for the route to {destination}"),
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
        xdp: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => interface.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Xdp(attributes) => interface.xdp = xdp_program(attributes),
            _ => {}
        }
    }
    Some(interface)
}

/// The one program of an interface. An interface with several is not described by one mode, and not the balancer's.
fn xdp_program(attributes: &[LinkXdp]) -> Option<XdpProgram> {
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(AttachedMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachedMode::Generic),
        _ => None,
    })?;
    Some(XdpProgram { id, mode })
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
    let mut source = None;
    let mut mtu = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) | RouteAttribute::Via(RouteVia::Inet(address)) => {
                gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) | RouteAttribute::Via(RouteVia::Inet6(address)) => {
                gateway = Some(IpAddr::V6(*address));
            }
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(IpAddr::V4(*address)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => source = Some(IpAddr::V6(*address)),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::EncapType(_) => return Route::Encapsulating,
            _ => {}
        }
    }
    interface.map_or(Route::Missing, |interface| Route::Unicast {
        interface,
        gateway,
        source,
        mtu,
    })
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

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteLwEnCapType;
    use rtnetlink::packet_core::NetlinkHeader;

    use super::*;

    fn told(message: RouteNetlinkMessage) -> Option<Notification> {
        let payload = NetlinkPayload::InnerMessage(message);
        notification(NetlinkMessage::new(NetlinkHeader::default(), payload))
    }

    fn neighbor_message(state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 2;
        message.header.state = state;
        message.header.flags = flags;
        message.attributes = vec![
            NeighbourAttribute::Destination(Ipv4Addr::new(10, 0, 0, 11).into()),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 2]),
        ];
        message
    }

    fn route_message(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    #[test]
    fn an_interface_that_leaves_a_bridge_has_not_gone() {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        assert!(matches!(
            told(RouteNetlinkMessage::DelLink(message.clone())),
            Some(Notification::InterfaceGone(2))
        ));
        message.header.interface_family = AddressFamily::Bridge;
        assert!(told(RouteNetlinkMessage::DelLink(message.clone())).is_none());
        assert!(told(RouteNetlinkMessage::NewLink(message)).is_none());
    }

    #[test]
    fn an_interface_is_up_only_with_a_carrier() {
        for (flags, up) in [
            (LinkFlags::Up | LinkFlags::LowerUp, true),
            (LinkFlags::Up, false),
            (LinkFlags::LowerUp, false),
        ] {
            let mut message = LinkMessage::default();
            message.header.flags = flags;
            assert_eq!(interface(&message).map(|interface| interface.up), Some(up), "{flags}");
        }
    }

    #[test]
    fn a_mac_counts_in_the_states_in_which_the_kernel_uses_it() {
        let known = Resolution::Known([2, 0, 0, 0, 0, 2]);
        for (state, resolution, kept) in [
            (NeighbourState::Permanent, known, true),
            (NeighbourState::Noarp, known, true),
            (NeighbourState::Reachable, known, false),
            (NeighbourState::Probe, known, false),
            (NeighbourState::Stale, known, false),
            (NeighbourState::Delay, known, false),
            (NeighbourState::Failed, Resolution::Failed, false),
            (NeighbourState::Incomplete, Resolution::Pending, false),
            (NeighbourState::None, Resolution::Pending, false),
        ] {
            let message = neighbor_message(state, NeighbourFlags::empty());
            assert_eq!(entry(&message), Some(Entry { resolution, kept }), "{state}");
            let learned = neighbor_message(state, NeighbourFlags::ExtLearned);
            assert_eq!(entry(&learned), Some(Entry { resolution, kept: true }), "{state}");
        }
    }

    #[test]
    fn what_is_no_neighbor_is_not_taken_for_one() {
        let proxy = neighbor_message(NeighbourState::Reachable, NeighbourFlags::Proxy);
        let mut bridged = neighbor_message(NeighbourState::Reachable, NeighbourFlags::empty());
        bridged.attributes.remove(0);
        for message in [proxy, bridged] {
            assert!(told(RouteNetlinkMessage::NewNeighbour(message.clone())).is_none());
            assert!(told(RouteNetlinkMessage::DelNeighbour(message)).is_none());
        }
    }

    #[test]
    fn the_way_out_is_read_from_a_route() {
        let oif = RouteAttribute::Oif(2);
        let v4 = Ipv4Addr::new(10, 0, 0, 1);
        let v6: Ipv6Addr = "fe80::1".parse().unwrap();
        let out = |gateway| Route::Unicast {
            interface: 2,
            gateway,
            source: None,
            mtu: None,
        };
        let source = Ipv4Addr::new(10, 0, 0, 7);
        let encapsulation = RouteAttribute::EncapType(RouteLwEnCapType::Mpls);
        for (attributes, expected) in [
            (vec![oif.clone()], out(None)),
            (
                vec![oif.clone(), RouteAttribute::Gateway(v4.into())],
                out(Some(v4.into())),
            ),
            (
                vec![oif.clone(), RouteAttribute::Gateway(v6.into())],
                out(Some(v6.into())),
            ),
            (vec![RouteAttribute::Via(v6.into()), oif.clone()], out(Some(v6.into()))),
            (
                vec![
                    oif.clone(),
                    RouteAttribute::PrefSource(source.into()),
                    RouteAttribute::Metrics(vec![RouteMetric::Advmss(1_200), RouteMetric::Mtu(1_400)]),
                ],
                Route::Unicast {
                    interface: 2,
                    gateway: None,
                    source: Some(source.into()),
                    mtu: Some(1_400),
                },
            ),
            (vec![oif, encapsulation], Route::Encapsulating),
            (vec![], Route::Missing),
        ] {
            let message = route_message(RouteType::Unicast, attributes);
            assert_eq!(route(&message), expected, "{message:?}");
        }
    }

    #[test]
    fn a_default_route_concerns_its_whole_family() {
        for (family, expected) in [(AddressFamily::Inet, "0.0.0.0/0"), (AddressFamily::Inet6, "::/0")] {
            let mut message = route_message(RouteType::Unicast, vec![RouteAttribute::Oif(2)]);
            message.header.address_family = family;
            assert_eq!(prefix(&message), Some(expected.parse().unwrap()));
        }
    }
}

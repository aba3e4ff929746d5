//! The clients: where they come from.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

use super::{attempt::Attempt, interrupt::Interrupt, stage::Service};
use crate::lab::{Connection, Namespace, Network, get_from};

/// Addresses that newcomers come from; after that many they come again, from another port.
const NEWCOMER_ADDRESSES: u16 = 200;

/// The first port that newcomers come from.
const NEWCOMER_PORTS: u16 = 1_024;

/// The port that regulars come from.
const REGULAR_PORT: u16 = 40_000;

/// The UDP port of the discard service (RFC 863).
const DISCARD: u16 = 9;

/// The client host with the networks behind it.
pub(super) struct Clients<'a> {
    pub(super) host: &'a Namespace,
    interrupt: &'a Interrupt,
    newcomers: AtomicU16,
    regulars: AtomicU16,
}

impl<'a> Clients<'a> {
    /// Gives the client host two networks of addresses in each family, to which the balancer host has routes.
    pub(super) fn new(network: &'a Network, interrupt: &'a Interrupt) -> Self {
        let host = &network.client;
        host.ip("route add local 10.1.2.0/23 dev lo");
        host.ip("-6 route add local fd00:1:0:2::/63 dev lo");
        // IPv6 sockets may not be bound to such addresses otherwise.
        host.sysctl("net.ipv6.ip_nonlocal_bind", "1");
        let balancer = &network.balancer;
        balancer.ip(&format!("route add 10.1.2.0/23 via {}", Network::CLIENT));
        balancer.ip(&format!("-6 route add fd00:1:0:2::/63 via {}", Network::CLIENT6));
        introduce(balancer);
        Self {
            host,
            interrupt,
            newcomers: AtomicU16::new(0),
            regulars: AtomicU16::new(0),
        }
    }

    /// Fails once somebody wants the demo to end.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.interrupt.check()
    }

    /// An address and port that no client had before.
    pub(super) fn newcomer(&self, service: Service) -> SocketAddr {
        let number = self.newcomers.fetch_add(1, Ordering::Relaxed);
        let address = address(service, 2, 1 + number % NEWCOMER_ADDRESSES);
        SocketAddr::new(address, NEWCOMER_PORTS + number)
    }

    /// Clients of each service with addresses that no client had before, so that what a server has counted for one is
    /// its own.
    pub(super) fn regulars(&self, count: usize) -> Vec<Regular<'_>> {
        let services = Service::ALL.into_iter().flat_map(|service| vec![service; count]);
        services
            .map(|service| {
                let number = self.regulars.fetch_add(1, Ordering::Relaxed);
                Regular {
                    clients: self,
                    address: SocketAddr::new(address(service, 3, 1 + number), REGULAR_PORT),
                    connection: None,
                    attempts: Vec::new(),
                }
            })
            .collect()
    }

    /// Opens a connection, makes one request and closes it.
    pub(super) fn visit(&self, client: SocketAddr) -> anyhow::Result<Attempt> {
        self.check()?;
        let vip = Service::of(client).vip();
        Ok(Attempt::of(client, || get_from(self.host, client, vip, "/visit")))
    }
}

/// A client that comes again and again from the same address and port.
pub(super) struct Regular<'a> {
    clients: &'a Clients<'a>,
    pub(super) address: SocketAddr,
    /// Held open from one request to the next, if there is one.
    connection: Option<Connection>,
    pub(super) attempts: Vec<Attempt>,
}

impl Regular<'_> {
    /// Opens a connection for all the requests that follow.
    pub(super) fn hold(&mut self) -> anyhow::Result<()> {
        let vip = Service::of(self.address).vip();
        self.connection = Some(Connection::open(self.clients.host, Some(self.address), vip)?);
        Ok(())
    }

    /// Makes a request, on a new connection unless one is held open.
    pub(super) fn come(&mut self) -> anyhow::Result<&Attempt> {
        let attempt = match &mut self.connection {
            Some(connection) => Attempt::of(self.address, || connection.get("/visit")),
            None => self.clients.visit(self.address)?,
        };
        Ok(self.attempts.push_mut(attempt))
    }

    /// The server that answered last.
    pub(super) fn server(&self) -> &str {
        self.attempts.last().map_or("nobody", Attempt::server)
    }

    /// What the server's memory said, visit by visit.
    pub(super) fn visits(&self) -> String {
        let visits = self.attempts.iter().map(|attempt| match &attempt.outcome {
            Ok(visit) => visit.visits.to_string(),
            Err(why) => why.clone(),
        });
        visits.collect::<Vec<_>>().join(", ")
    }
}

/// The address of a host, 1 to 255, in one of the networks behind the client host.
fn address(service: Service, network: u8, host: u16) -> IpAddr {
    let [_, last] = host.to_be_bytes();
    match service {
        Service::Web => Ipv4Addr::new(10, 1, network, last).into(),
        Service::Web6 => Ipv6Addr::new(0xfd00, 1, 0, network.into(), 0, 0, 0, host).into(),
    }
}

/// Lets the balancer host find out the link-layer address of its router to the clients, as a host has that has been up
/// for a while. Otherwise the first reply is dropped, and the client's packet has to be sent again a second later.
fn introduce(balancer: &Namespace) {
    balancer.enter(|| {
        for (any, router) in [
            (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Network::CLIENT)),
            (IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Network::CLIENT6)),
        ] {
            let socket = UdpSocket::bind((any, 0)).expect("a socket can be bound");
            socket
                .send_to(&[], (router, DISCARD))
                .expect("the router is on the link");
        }
    });
}

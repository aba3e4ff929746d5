//! A balancer host that is handed packets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Barrier,
    thread,
};

use balancer::{
    config::{self, XdpMode},
    dataplane::{Dataplane, NeighborRequests, Question},
    neighbors,
    reconcile::{Desired, DesiredService, Operation, Refresh, diff, refresh, stand},
};
use balancer_common::abi::{Explanation, Mac, NextHop, TablePlace};

use super::{Ledger, Outcome};
use crate::lab::{Namespace, PinDirectory};

/// An interface of the host.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: &'static str,
    /// Its MAC.
    pub mac: Mac,
}

impl Interface {
    /// Clients are here: 10.1.0.0/24 and `fd00:1::/64`.
    pub const CLIENTS: Self = Self::numbered(1, "eth0");
    /// Backends are here: 10.2.0.0/24 and `fd00:2::/64`.
    pub const BACKENDS: Self = Self::numbered(2, "eth1");
    /// Another way out: 10.3.0.0/24 and `fd00:3::/64`.
    pub const OTHER: Self = Self::numbered(3, "eth2");

    const ALL: [Self; 3] = [Self::CLIENTS, Self::BACKENDS, Self::OTHER];

    const fn numbered(number: u8, name: &'static str) -> Self {
        Self {
            index: number as u32 * 10,
            name,
            mac: [2, 0, 0, 0, number, 1],
        }
    }

    /// Its address in the family of `peer`.
    pub const fn address_of(self, peer: IpAddr) -> IpAddr {
        let number = self.mac[4];
        match peer {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, number, 0, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, number as u16, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// What leads to a neighbour with this MAC on the interface.
    pub const fn to(self, neighbor: Mac) -> NextHop {
        NextHop {
            interface: self.index,
            destination: neighbor,
            source: self.mac,
        }
    }
}

impl From<Interface> for neighbors::Interface {
    fn from(interface: Interface) -> Self {
        Self {
            index: interface.index,
            name: interface.name.to_owned(),
            mac: Some(interface.mac),
            up: true,
            mtu: 1_500,
            xdp: None,
            tunnel: false,
        }
    }
}

/// How much the data plane has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Remembered flows.
    pub flows: u32,
    /// Services.
    pub services: u32,
    /// Backends.
    pub backends: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            flows: 65_536,
            services: 1_023,
            backends: 1_023,
        }
    }
}

/// A host with three interfaces that forwards, and a data plane that is not attached to them: it gets the packets that it
/// is given, in the order in which it is given them, and no others.
pub struct Host<'a> {
    namespace: &'a Namespace,
    // Dropped in this order: what is pinned goes when nobody uses it any more.
    dataplane: Option<Dataplane>,
    config: config::Dataplane,
    _pins: PinDirectory,
}

impl Host<'_> {
    /// Plays `scenario` on a new host.
    pub fn run(scenario: impl FnOnce(&mut Host<'_>) + Send) {
        Self::run_with(Room::default(), scenario);
    }

    /// Plays `scenario` on a new host that can remember so many flows.
    pub fn run_with_flows(max_flows: u32, scenario: impl FnOnce(&mut Host<'_>) + Send) {
        let room = Room {
            flows: max_flows,
            ..Room::default()
        };
        Self::run_with(room, scenario);
    }

    /// Plays `scenario` on a new host that has room for so much.
    pub fn run_with(room: Room, scenario: impl FnOnce(&mut Host<'_>) + Send) {
        let namespace = namespace();
        namespace.enter(|| {
            let pins = PinDirectory::new();
            let config = config::Dataplane {
                interfaces: Vec::new(),
                xdp_mode: XdpMode::Auto,
                pin_path: pins.path().to_owned(),
                max_flows: room.flows,
                max_services: room.services,
                max_clients: 1_024,
                max_backends: room.backends,
                tunnel_source: config::TunnelSource::default(),
                source_addresses: Vec::new(),
                source_ports: (1_024, 32_767),
                max_mappings: room.flows,
            };
            let mut host = Host {
                namespace: &namespace,
                dataplane: None,
                config,
                _pins: pins,
            };
            host.reopen();
            scenario(&mut host);
        });
    }

    /// Makes the data plane hold these services and no others.
    pub fn serve(&mut self, services: impl IntoIterator<Item = DesiredService>) {
        let operations = self.operations_to(services);
        self.carry_out(operations);
    }

    /// The operations that would make the data plane hold these services and no others.
    pub fn operations_to(&self, services: impl IntoIterator<Item = DesiredService>) -> Vec<Operation> {
        let desired = Desired {
            services: services.into_iter().collect(),
        };
        diff(self.opened().state(), &desired, self.opened().limits()).expect("there is room for the services")
    }

    /// Has operations carried out.
    pub fn carry_out(&mut self, operations: Vec<Operation>) {
        self.dataplane()
            .apply(operations)
            .expect("the kernel takes the operations");
    }

    /// Has the data plane follow a change of health of these services, as it does when a probe has failed: first the records of
    /// the backends; between these and the tables, `meanwhile`.
    pub fn refresh_and(
        &mut self,
        services: impl IntoIterator<Item = DesiredService>,
        meanwhile: impl FnOnce(&mut Self),
    ) {
        let desired = Desired {
            services: services.into_iter().collect(),
        };
        let Refresh { records, tables } =
            refresh(self.opened().state(), &desired).expect("only standings and weights change");
        let apply = |host: &mut Self, operations| {
            let applied = host.dataplane().apply_in_place(operations);
            applied.expect("the kernel takes the operations");
        };
        apply(self, records);
        meanwhile(self);
        apply(self, vec![Operation::PublishTables { tables }]);
    }

    /// Has the data plane note how the first backend of each of these services is, as it does before anything else follows.
    pub fn stand(&mut self, services: &[DesiredService]) {
        let state = self.opened().state();
        let first = services
            .iter()
            .filter_map(|service| Some((service, service.backends.first()?)));
        let operations = first
            .filter_map(|(service, backend)| stand(state, &service.name, backend.address, backend.port, backend.flags));
        let operations = operations.collect();
        let applied = self.dataplane().apply_in_place(operations);
        applied.expect("the kernel takes the operations");
    }

    /// [`refresh_and`](Self::refresh_and), and nothing between.
    pub fn refresh(&mut self, services: impl IntoIterator<Item = DesiredService>) {
        self.refresh_and(services, |_| {});
    }

    /// Where packets of a service find their slots.
    ///
    /// # Panics
    ///
    /// If there is no such service.
    pub fn table_of(&self, service: &str) -> TablePlace {
        let services = &self.opened().state().services;
        let known = services.iter().find(|(_, entry)| entry.name == service);
        let (&index, _) = known.expect("the service is known");
        self.opened().table_place(index).expect("the place can be read")
    }

    /// Hands the host a frame that came in by an interface.
    pub fn receive(&mut self, ingress: Interface, frame: &[u8]) -> Outcome {
        self.opened()
            .run(frame, ingress.index)
            .expect("the kernel runs the program")
            .into()
    }

    /// Hands the host several series of frames at once, each on a thread of its own.
    pub fn receive_at_once(&self, ingress: Interface, series: &[Vec<Vec<u8>>]) -> Vec<Vec<Outcome>> {
        let start = Barrier::new(series.len());
        let receive = |frames: &[Vec<u8>]| {
            self.namespace.enter(|| {
                start.wait();
                let run = |frame: &Vec<u8>| self.opened().run(frame, ingress.index);
                let outcomes = frames
                    .iter()
                    .map(|frame| run(frame).expect("the kernel runs the program"));
                outcomes.map(Outcome::from).collect()
            })
        };
        thread::scope(|scope| {
            let receive = &receive;
            #[expect(
                clippy::needless_collect,
                reason = "they wait for one another: all start before one is joined"
            )]
            let threads: Vec<_> = series
                .iter()
                .map(|frames| scope.spawn(move || receive(frames)))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("the thread does not panic");
            threads.into_iter().map(join).collect()
        })
    }

    /// Where a packet would go.
    pub fn explain(&mut self, client: SocketAddr, service: SocketAddr, protocol: u8) -> Explanation {
        let question = Question {
            client,
            service,
            protocol,
            connection_id: None,
        };
        self.opened().explain(question).expect("the data plane answers")
    }

    /// Does something and tells what was counted meanwhile.
    pub fn count(&mut self, action: impl FnOnce(&mut Self)) -> Ledger {
        let before = Ledger::read(self.opened());
        action(self);
        Ledger::read(self.opened()).since(&before)
    }

    /// The data plane.
    ///
    /// # Panics
    ///
    /// Never: there is one but while [`reopen`](Self::reopen) runs.
    pub const fn dataplane(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().expect("there is one but while it is reopened")
    }

    /// Closes the data plane, whose maps stay, and opens it again as a daemon does that starts.
    pub fn reopen(&mut self) {
        if let Some(dataplane) = &mut self.dataplane {
            // What nothing is attached to would go with it.
            dataplane
                .attach(&[Interface::OTHER.into()], XdpMode::Generic)
                .expect("the kernel attaches the program");
        }
        // One at a time: the pins have one owner.
        self.dataplane = None;
        self.dataplane = Some(Dataplane::open(&self.config).expect("the kernel takes the data plane"));
    }

    const fn opened(&self) -> &Dataplane {
        self.dataplane.as_ref().expect("there is one but while it is reopened")
    }

    /// What the program asks to have resolved. To be called in a Tokio runtime.
    pub fn neighbor_requests(&mut self) -> NeighborRequests {
        self.dataplane()
            .take_neighbor_requests()
            .expect("nobody has taken the requests yet")
    }

    /// Index of a backend, which its service knows by this address.
    pub fn backend_index(&self, service: &str, address: SocketAddr) -> u32 {
        let known = &self.opened().state().index;
        let identity = (
            known.services[service],
            address.ip().into(),
            address.port().to_be_bytes(),
        );
        known.backends[&identity]
    }

    /// Runs `ip` on the host.
    pub fn ip(&self, arguments: &str) {
        self.namespace.ip(arguments);
    }

    /// Sets a kernel parameter of the host.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.namespace.sysctl(name, value);
    }

    /// Tells the host the MAC of a neighbour for good.
    pub fn know_neighbor(&self, interface: Interface, address: IpAddr, mac: Mac) {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        self.ip(&format!(
            "neighbor replace {address} lladdr {mac} nud permanent dev {}",
            interface.name
        ));
    }
}

fn namespace() -> Namespace {
    let namespace = Namespace::new("packets");
    namespace.sysctl("net.ipv4.ip_forward", "1");
    namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
    for (number, Interface { index, name, mac }) in (1..).zip(Interface::ALL) {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        // The other end of the cable is there to give the interface a carrier.
        namespace.ip(&format!(
            "link add {name} index {index} address {mac} type veth peer name peer{number}"
        ));
        namespace.ip(&format!("link set peer{number} up"));
        namespace.ip(&format!("link set {name} up"));
        namespace.ip(&format!("address add 10.{number}.0.1/24 dev {name}"));
        namespace.ip(&format!("address add fd00:{number}::1/64 dev {name} nodad"));
    }
    namespace
}

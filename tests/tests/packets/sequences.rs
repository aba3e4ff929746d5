//! Random changes one after the other, against a model that knows only what is promised.

use std::{collections::BTreeMap, mem, net::SocketAddr};

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{BackendFlags, Tracking, protocol::TCP};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, backend, read, service};

use crate::cases::{FAMILIES, Family, clients};

const BACKENDS: u8 = 5;
const CHANGES: usize = 60;
/// Clients that come after each change.
const NEWCOMERS: usize = 8;

/// What a backend may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// It takes new clients, by this weight.
    Serving(u32),
    /// It keeps its flows and takes no new clients.
    Draining,
    /// It has lost its flows and takes none.
    Down,
    Gone,
}

impl Life {
    fn any(random: &mut fastrand::Rng) -> Self {
        match random.u32(..6) {
            0..3 => Self::Serving([50, 100, 300][random.usize(..3)]),
            3 => Self::Draining,
            4 => Self::Down,
            _ => Self::Gone,
        }
    }

    const fn keeps_flows(self) -> bool {
        matches!(self, Self::Serving(_) | Self::Draining)
    }

    const fn takes_clients(self) -> bool {
        matches!(self, Self::Serving(_))
    }

    fn desired(self, address: SocketAddr) -> Option<DesiredBackend> {
        let present = backend(address);
        match self {
            Self::Serving(weight) => Some(DesiredBackend { weight, ..present }),
            Self::Draining => Some(DesiredBackend { weight: 0, ..present }),
            Self::Down => Some(DesiredBackend {
                weight: 0,
                flags: BackendFlags::default(),
                ..present
            }),
            Self::Gone => None,
        }
    }
}

/// What is promised of the flows that there are.
struct Model {
    family: Family,
    lives: BTreeMap<SocketAddr, Life>,
    /// The backend that each client's flow has; `None` if its last packet found none.
    flows: BTreeMap<SocketAddr, Option<SocketAddr>>,
}

impl Model {
    fn new(family: Family) -> Self {
        let address = |number| SocketAddr::new(family.host(number), 8080);
        Self {
            family,
            lives: (1..=BACKENDS).map(|number| (address(number), Life::Gone)).collect(),
            flows: BTreeMap::new(),
        }
    }

    fn desired(&self) -> Vec<DesiredBackend> {
        self.lives
            .iter()
            .filter_map(|(address, life)| life.desired(*address))
            .collect()
    }

    /// Sends a packet of a client's flow, and checks where it goes if it had the backend `kept`.
    fn send(
        &mut self,
        host: &mut Host<'_>,
        (client, kept): (SocketAddr, Option<SocketAddr>),
        transport: Transport,
        case: &str,
    ) {
        let vip = SocketAddr::new(self.family.vip, 80);
        let outcome = host.receive(Interface::CLIENTS, &Packet::new(transport, client, vip).frame());
        let reached = (outcome.action == Action::Redirect).then(|| read(&outcome.frame).destination);
        match kept.filter(|backend| self.lives[backend].keeps_flows()) {
            Some(backend) => assert_eq!(reached, Some(backend), "{case}: {client} has lost its backend"),
            None => match reached {
                Some(backend) => assert!(
                    self.lives[&backend].takes_clients(),
                    "{case}: {client} was given to {backend}, which is {:?}",
                    self.lives[&backend]
                ),
                None => assert!(
                    !self.lives.values().any(|life| life.takes_clients()),
                    "{case}: {client} got no backend, and there are some"
                ),
            },
        }
        self.flows.insert(client, reached);
    }
}

fn promises_are_kept(tracking: Tracking) {
    for family in FAMILIES {
        for seed in 0..4 {
            Host::run(|host| {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut model = Model::new(family);
                let mut newcomers = clients(family.client);
                for change in 0..CHANGES {
                    let address = *random.choice(model.lives.keys()).expect("there are some");
                    let life = Life::any(&mut random);
                    model.lives.insert(address, life);
                    let case = format!("seed {seed}, change {change}: {address} is {life:?}");
                    let service = service("web", family.vip, TCP, &[], model.desired());
                    host.serve([DesiredService { tracking, ..service }]);
                    for flow in mem::take(&mut model.flows) {
                        model.send(host, flow, Transport::ack(), &case);
                    }
                    for client in newcomers.by_ref().take(NEWCOMERS) {
                        model.send(host, (client, None), Transport::syn(), &case);
                    }
                }
            });
        }
    }
}

#[test]
fn no_sequence_of_changes_breaks_a_promise_where_every_flow_is_remembered() {
    promises_are_kept(Tracking::Full);
}

#[test]
fn no_sequence_of_changes_breaks_a_promise_where_only_flows_that_would_move_are_remembered() {
    promises_are_kept(Tracking::Changes);
}

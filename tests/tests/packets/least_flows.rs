//! New flows go to the emptier of two backends, where the service wants that.

use std::{collections::HashMap, net::SocketAddr};

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{AffinityKind, Selection, protocol::TCP};
use balancer_tests::packet::{Host, Packet, Transport, backend, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::backend_of,
};

fn target(family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(family.host(number), 8080)
}

fn web(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    DesiredService {
        selection: Selection::LeastFlows,
        ..service("web", family.vip, TCP, &[], backends)
    }
}

fn open(host: &mut Host<'_>, family: Family, client: SocketAddr) -> SocketAddr {
    let vip = SocketAddr::new(family.vip, 80);
    backend_of(host, &Packet::new(Transport::syn(), client, vip))
}

/// Opens a flow for each client; how many each backend gets.
fn open_all(
    host: &mut Host<'_>,
    family: Family,
    clients: impl Iterator<Item = SocketAddr>,
) -> HashMap<SocketAddr, u32> {
    let mut counts = HashMap::new();
    for client in clients {
        *counts.entry(open(host, family, client)).or_default() += 1;
    }
    counts
}

#[test]
fn backends_fill_evenly_by_their_weights() {
    for family in FAMILIES {
        Host::run(|host| {
            let weight = |number: u8| if number == 1 { 300 } else { 100 };
            host.serve([web(
                family,
                (1..=8).map(|number| DesiredBackend {
                    weight: weight(number),
                    ..backend(target(family, number))
                }),
            )]);
            let counts = open_all(host, family, clients(family.client).take(1_000));
            for number in 1..=8 {
                // By the table alone some would be off by a quarter.
                let count = f64::from(counts[&target(family, number)]) / f64::from(weight(number));
                assert!((0.9..1.1).contains(&count), "{number}: {counts:?}");
            }
        });
    }
}

#[test]
fn flows_that_end_make_room_and_those_that_are_open_stay() {
    Host::run(|host| {
        host.serve([web(V4, [1, 2].map(|number| backend(target(V4, number))))]);
        let vip = SocketAddr::new(V4.vip, 80);
        let opened: Vec<_> = clients(V4.client)
            .take(200)
            .map(|client| (client, open(host, V4, client)))
            .collect();
        let leaver = target(V4, 1);
        for &(client, reached) in &opened {
            let transport = if reached == leaver {
                Transport::rst()
            } else {
                Transport::ack()
            };
            assert_eq!(backend_of(host, &Packet::new(transport, client, vip)), reached);
        }
        // The two slots of some clients are both the other backend's; all the others go where there is room.
        let counts = open_all(host, V4, clients(V4.client).skip(200).take(80));
        assert!(counts[&leaver] > 50, "{counts:?}");
    });
}

#[test]
fn forgotten_flows_make_room_when_the_tables_have_been_swept() {
    Host::run(|host| {
        host.serve([web(V4, [1, 2].map(|number| backend(target(V4, number))))]);
        open_all(host, V4, clients(V4.client).take(200));
        let leaver = host.dataplane().state().backends.iter();
        let leaver = leaver.filter(|(_, backend)| backend.name == target(V4, 1).to_string());
        let leaver = *leaver.map(|(index, _)| index).next().unwrap();
        let memory = host.dataplane().memory().unwrap();
        memory.flush_flows(|_, flow| flow.owner.backend == leaver);
        host.dataplane().sweep().unwrap();
        let counts = open_all(host, V4, clients(V4.client).skip(200).take(80));
        assert!(counts[&target(V4, 1)] > 50, "{counts:?}");
    });
}

#[test]
fn a_client_that_is_remembered_stays_however_full_its_backend_is() {
    Host::run(|host| {
        let by_client = |backends: &[u8]| DesiredService {
            affinity: AffinityKind::ClientIp,
            ..web(V4, backends.iter().map(|&number| backend(target(V4, number))))
        };
        host.serve([by_client(&[1])]);
        let counts = open_all(host, V4, clients(V4.client).take(50));
        assert_eq!(counts, HashMap::from([(target(V4, 1), 50)]));
        host.serve([by_client(&[1, 2])]);
        let counts = open_all(host, V4, clients(V4.client).skip(50).take(50));
        assert_eq!(counts, HashMap::from([(target(V4, 1), 50)]));
    });
}

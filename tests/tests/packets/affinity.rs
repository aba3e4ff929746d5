//! Which backend a new flow goes to.

use std::{collections::BTreeSet, net::SocketAddr};

use balancer::{
    maglev::{self, Candidate, TableSize},
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::{
    abi::{AffinityKind, BackendFlags, protocol::TCP},
    hash,
};
use balancer_tests::packet::{Host, Packet, Transport, backend, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::{backend_of, served_at},
};

fn web(family: Family, backends: impl IntoIterator<Item = DesiredBackend>) -> DesiredService {
    service("web", family.vip, TCP, &[80], backends)
}

fn numbered(family: Family, number: u8) -> DesiredBackend {
    backend(SocketAddr::new(family.host(number), 8080))
}

/// Where the first packet of each of many clients goes.
fn destinations(host: &mut Host<'_>, family: Family) -> Vec<SocketAddr> {
    clients(family.client)
        .take(100)
        .map(|client| backend_of(host, &Packet::new(Transport::syn(), client, served_at(family))))
        .collect()
}

#[test]
fn a_new_flow_goes_where_the_maglev_table_says() {
    Host::run(|host| {
        for family in FAMILIES {
            // The smallest table there is, the largest, and some between.
            for slots in [2, 251, 4_099, 65_537, 655_373] {
                let size = TableSize::new(slots).unwrap();
                let backends = [(1, 100), (2, 50), (3, 250), (4, 0)].map(|(number, weight)| DesiredBackend {
                    weight,
                    ..numbered(family, number)
                });
                let candidates: Vec<_> = (1..)
                    .zip(&backends)
                    .map(|(value, backend)| Candidate {
                        address: backend.address,
                        port: backend.port,
                        weight: backend.weight,
                        value,
                        serves: true,
                    })
                    .collect();
                let table = maglev::build(&candidates, size);
                let expected: Vec<_> = clients(family.client)
                    .take(100)
                    .map(|client| {
                        let hash = hash::client(client.ip().into(), client.port().to_be_bytes());
                        let number = table[hash::scale(hash, slots) as usize];
                        SocketAddr::new(family.host(number.try_into().unwrap()), 8080)
                    })
                    .collect();
                // What comes after nothing is numbered anew, and its flows are new ones.
                host.serve([]);
                host.serve([DesiredService {
                    table_size: size,
                    ..web(family, backends)
                }]);
                assert_eq!(destinations(host, family), expected, "{slots} slots");
            }
        }
    });
}

#[test]
fn neither_history_nor_order_has_an_influence() {
    for family in FAMILIES {
        let mut at_once = Vec::new();
        Host::run(|host| {
            host.serve([web(family, (1..=5).map(|number| numbered(family, number)))]);
            at_once = destinations(host, family);
        });
        Host::run(|host| {
            for numbers in [&[9, 3][..], &[3, 5, 9], &[], &[5], &[5, 4, 3, 2, 1]] {
                host.serve([web(family, numbers.iter().map(|&number| numbered(family, number)))]);
            }
            assert_eq!(destinations(host, family), at_once);
        });
    }
}

#[test]
fn a_client_reaches_one_backend_on_every_port_of_a_service() {
    for family in FAMILIES {
        Host::run(|host| {
            let backends = (1..=5).map(|number| backend(SocketAddr::new(family.host(number), 0)));
            host.serve([service("web", family.vip, TCP, &[80, 443], backends)]);
            for client in clients(family.client).take(100) {
                let [http, https] = [80, 443].map(|port| {
                    let service = SocketAddr::new(family.vip, port);
                    let target = backend_of(host, &Packet::new(Transport::syn(), client, service));
                    assert_eq!(target.port(), port);
                    target.ip()
                });
                assert_eq!(http, https, "{client}");
            }
        });
    }
}

#[test]
fn only_with_affinity_by_address_and_port_do_a_clients_ports_reach_several_backends() {
    for family in FAMILIES {
        for (affinity, expected) in [(AffinityKind::ClientIp, 1), (AffinityKind::ClientIpPort, 5)] {
            Host::run(|host| {
                host.serve([DesiredService {
                    affinity,
                    ..web(family, (1..=5).map(|number| numbered(family, number)))
                }]);
                for client in [family.client, family.neighbor, family.gateway] {
                    let reached: BTreeSet<_> = clients(client)
                        .take(100)
                        .map(|client| backend_of(host, &Packet::new(Transport::syn(), client, served_at(family))))
                        .collect();
                    assert_eq!(reached.len(), expected, "{affinity:?} of {client}");
                }
            });
        }
    }
}

#[test]
fn a_table_is_swapped_whole_unless_a_backend_has_failed() {
    Host::run(|host| {
        let [one, two] = [1, 2].map(|number| numbered(V4, number));
        let serving = |backends: &[&DesiredBackend]| [web(V4, backends.iter().map(|&backend| backend.clone()))];
        host.serve(serving(&[&one]));
        let first = host.table_of("web");
        host.serve(serving(&[&one, &two]));
        let second = host.table_of("web");
        assert_ne!(second, first, "half of the new table could be seen");
        assert!(destinations(host, V4).iter().any(|backend| backend.ip() == V4.host(2)));

        let down = DesiredBackend {
            weight: 0,
            flags: BackendFlags::DOWN,
            ..two
        };
        host.refresh(serving(&[&one, &down]));
        assert_eq!(host.table_of("web"), second, "the kernel was waited for");
        assert!(destinations(host, V4).iter().all(|backend| backend.ip() == V4.host(1)));
    });
}

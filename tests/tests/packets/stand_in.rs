//! Who gets the clients of a backend that has just failed: the same before the table follows as afterwards.

use std::net::SocketAddr;

use balancer::{
    maglev::TableSize,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::{
    DropReason,
    abi::{BackendFlags, Selection, Tracking, protocol::TCP},
};
use balancer_tests::packet::{Host, Interface, Packet, Transport, backend, service};

use crate::{
    cases::{FAMILIES, Family, V4, clients},
    setting::{assert_dropped, backend_of, served_at},
};

/// Backends of each service, numbered from 1.
const BACKENDS: u8 = 5;

/// A service of which these backends are down.
fn web(family: Family, tracking: Tracking, slots: u32, down: &[u8]) -> DesiredService {
    let backends = (1..=BACKENDS).map(|number| {
        let backend = backend(SocketAddr::new(family.host(number), 8080));
        if down.contains(&number) {
            DesiredBackend {
                flags: BackendFlags::DOWN.with(BackendFlags::EXPECTED),
                ..backend
            }
        } else {
            backend
        }
    });
    DesiredService {
        tracking,
        table_size: TableSize::new(slots).unwrap(),
        ..service("web", family.vip, TCP, &[80], backends)
    }
}

/// Where clients go with this packet.
fn destinations(host: &mut Host<'_>, family: Family, transport: &Transport) -> Vec<SocketAddr> {
    clients(family.client)
        .take(200)
        .map(|client| backend_of(host, &Packet::new(transport.clone(), client, served_at(family))))
        .collect()
}

#[test]
fn the_table_confirms_who_stands_in_and_nobody_else_moves() {
    for family in FAMILIES {
        Host::run(|host| {
            for slots in [7, 251, 65_537, 655_373] {
                let web = |down: &[u8]| [web(family, Tracking::None, slots, down)];
                host.serve(web(&[]));
                let calm = destinations(host, family, &Transport::ack());
                for down in [&[3][..], &[3, 1], &[1, 2, 3], &[1, 2, 3, 4]] {
                    let is_down = |backend: &SocketAddr| down.iter().any(|&number| backend.ip() == family.host(number));
                    let mut meanwhile = Vec::new();
                    host.refresh_and(web(down), |host| {
                        meanwhile = destinations(host, family, &Transport::ack());
                    });
                    let after = destinations(host, family, &Transport::ack());
                    assert_eq!(after, meanwhile, "{slots} slots, {down:?} down");
                    for (before, after) in calm.iter().zip(&after) {
                        let stays = before == after || is_down(before) && !is_down(after);
                        assert!(stays, "{slots} slots, {down:?} down: {before} {after}");
                    }
                }
                host.refresh(web(&[]));
                assert_eq!(destinations(host, family, &Transport::ack()), calm);
            }
        });
    }
}

#[test]
fn a_flow_that_begins_with_a_stand_in_stays_there() {
    for tracking in [Tracking::Full, Tracking::Changes] {
        Host::run(|host| {
            let web = |down: &[u8]| [web(V4, tracking, 251, down)];
            host.serve(web(&[]));
            let mut began = Vec::new();
            host.refresh_and(web(&[2]), |host| began = destinations(host, V4, &Transport::syn()));
            assert!(began.iter().all(|backend| backend.ip() != V4.host(2)));
            assert_eq!(destinations(host, V4, &Transport::ack()), began, "{tracking:?}");
            host.refresh(web(&[]));
            assert_eq!(
                destinations(host, V4, &Transport::ack()),
                began,
                "{tracking:?}, all back"
            );
        });
    }
}

#[test]
fn the_emptier_one_of_two_backends_is_one_that_serves() {
    Host::run(|host| {
        let web = |down: &[u8]| {
            [DesiredService {
                selection: Selection::LeastFlows,
                ..web(V4, Tracking::Full, 251, down)
            }]
        };
        host.serve(web(&[]));
        host.refresh_and(web(&[2, 4]), |host| {
            let began = destinations(host, V4, &Transport::syn());
            let is_up = |backend: &SocketAddr| [1, 3, 5].iter().any(|&number| backend.ip() == V4.host(number));
            assert!(began.iter().all(is_up));
        });
    });
}

#[test]
fn where_nobody_serves_nobody_stands_in() {
    Host::run(|host| {
        let web = |down: &[u8]| [web(V4, Tracking::Full, 251, down)];
        host.serve(web(&[]));
        let client = SocketAddr::new(V4.client, 40_000);
        let frame = Packet::new(Transport::syn(), client, served_at(V4)).frame();
        let refused = |host: &mut Host<'_>| {
            assert_dropped(host, "nobody serves", Interface::CLIENTS, &frame, DropReason::NoBackend);
        };
        host.refresh_and(web(&[1, 2, 3, 4, 5]), refused);
        refused(host);
    });
}

//! Next hops, followed in a network namespace of their own. Needs root and `ip` (iproute2).
//!
//! ```text
//!            10.1.0.1/24  fd01::1/64             10.1.0.2/24  fd01::2/64
//!          ┌──────────────────────── eth0 ─ eth0 ────────────────────────┐
//!   host ──┤                                                             near, far
//!          └──────────────────────── eth1 ─ eth0 ────────────────────────┘
//!            10.2.0.1/24  fd02::1/64             10.2.0.2/24  fd02::2/64
//! ```

mod lab;

use std::{net::IpAddr, time::Duration};

use balancer::neighbors::{Event, Neighbors, Unreachable, Way, interfaces};
use balancer_common::abi::NextHop;
use futures_util::StreamExt as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState},
};
use rtnetlink::{MulticastGroup, packet_core::NetlinkPayload};
use tokio::{
    sync::mpsc,
    time::{self, timeout},
};

use lab::{DEADLINE, Lab, VIA_FAR, VIA_NEAR};

/// The subject of the tests and what it reports.
struct Subject {
    neighbors: Neighbors,
    events: mpsc::Receiver<Event>,
}

impl Subject {
    async fn watching(destinations: &[&str]) -> Self {
        let (sender, events) = mpsc::channel(64);
        let neighbors = Neighbors::start(sender).await.unwrap();
        let subject = Self { neighbors, events };
        subject.watch(destinations);
        subject
    }

    fn watch(&self, destinations: &[&str]) {
        self.neighbors
            .watch(destinations.iter().map(|text| address(text)).collect());
    }

    async fn event(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("no event in time")
            .expect("the watcher has ended")
    }

    /// Waits until `destination` has a next hop.
    async fn next_hop(&mut self, destination: &str) -> NextHop {
        loop {
            if let Ok(way) = self.result(destination).await {
                return way.next_hop;
            }
        }
    }

    /// Waits until it is known that `destination` has no next hop.
    async fn reason(&mut self, destination: &str) -> Unreachable {
        loop {
            match self.result(destination).await {
                Ok(_) | Err(Unreachable::Resolving { .. }) => {}
                Err(reason) => return reason,
            }
        }
    }

    /// Waits for the next report about `destination`.
    async fn result(&mut self, destination: &str) -> Result<Way, Unreachable> {
        loop {
            match self.event().await {
                Event::Way {
                    destination: about,
                    result,
                } if about == address(destination) => return result,
                _ => {}
            }
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_destination_on_the_link_is_its_own_next_hop() {
    Lab::run(async |_| {
        for (destination, expected) in [("10.1.0.2", VIA_NEAR), ("fd02::2", VIA_FAR)] {
            let mut subject = Subject::watching(&[destination]).await;
            assert_eq!(subject.next_hop(destination).await, expected, "{destination}");
        }
    });
}

#[test]
fn a_distant_destination_is_reached_by_its_gateway() {
    Lab::run(async |lab| {
        lab.host.ip("route add 10.9.0.0/16 via 10.1.0.2");
        lab.host.ip("route add fd09::/16 via fd01::2");
        lab.host.ip("route add 10.8.0.0/16 via inet6 fd02::2");
        for (destination, expected) in [("10.9.0.1", VIA_NEAR), ("fd09::1", VIA_NEAR), ("10.8.0.1", VIA_FAR)] {
            let mut subject = Subject::watching(&[destination]).await;
            assert_eq!(subject.next_hop(destination).await, expected, "{destination}");
        }
    });
}

#[test]
fn the_next_hop_follows_routes_metrics_and_rules() {
    Lab::run(async |lab| {
        lab.host.ip("route add 10.9.0.0/16 via 10.1.0.2 metric 20");
        let mut subject = Subject::watching(&["10.9.0.1"]).await;
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        lab.host.ip("route add 10.9.0.0/16 via 10.2.0.2 metric 10");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_FAR);

        lab.host.ip("route add 10.9.0.1 via 10.1.0.2");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        lab.host.ip("route add default via 10.2.0.2 table 100");
        lab.host.ip("rule add to 10.9.0.0/24 table 100");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_FAR);

        lab.host.ip("rule del to 10.9.0.0/24 table 100");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        lab.host.ip("route replace 10.9.0.1 via 10.2.0.2");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_FAR);

        lab.host.ip("route del 10.9.0.1");
        lab.host.ip("route del 10.9.0.0/16 via 10.2.0.2");
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        lab.host.ip("route del 10.9.0.0/16");
        assert_eq!(
            subject.reason("10.9.0.1").await,
            Unreachable::NoRoute(address("10.9.0.1"))
        );
    });
}

#[test]
fn source_and_mtu_follow_routes_and_interfaces() {
    Lab::run(async |lab| {
        for (destination, gateway, own, other) in [
            ("10.9.0.1", "10.1.0.2", "10.1.0.1", "10.2.0.1"),
            ("fd09::1", "fd01::2", "fd01::1", "fd02::1"),
        ] {
            lab.host.ip(&format!("route add {destination} via {gateway}"));
            let mut subject = Subject::watching(&[destination]).await;
            subject.next_hop(destination).await;
            for (change, source, mtu) in [
                ("mtu 1400".to_owned(), own, 1_400),
                (format!("src {other}"), other, 1_500),
                (format!("src {other} mtu lock 1300"), other, 1_300),
            ] {
                lab.host
                    .ip(&format!("route replace {destination} via {gateway} {change}"));
                let way = subject.result(destination).await.unwrap();
                assert_eq!((way.source, way.mtu), (Some(address(source)), mtu), "{change}");
            }
            lab.host.ip(&format!("route replace {destination} via {gateway}"));
            assert_eq!(subject.result(destination).await.unwrap().mtu, 1_500);
            lab.host.ip("link set eth0 mtu 1480");
            assert_eq!(subject.result(destination).await.unwrap().mtu, 1_480);
            lab.host.ip("link set eth0 mtu 1500");
        }
    });
}

type Reason = fn(IpAddr) -> Unreachable;

#[test]
fn routes_that_take_no_packets_are_told_apart() {
    Lab::run(async |lab| {
        let kinds: [(&str, Reason); 3] = [
            ("blackhole", Unreachable::Blackhole),
            ("unreachable", Unreachable::Refused),
            ("prohibit", Unreachable::Prohibited),
        ];
        for (number, (kind, reason)) in kinds.into_iter().enumerate() {
            for destination in [format!("10.9.0.{number}"), format!("fd09::{number}")] {
                lab.host.ip(&format!("route add {kind} {destination}"));
                let mut subject = Subject::watching(&[&destination]).await;
                assert_eq!(subject.reason(&destination).await, reason(address(&destination)));
            }
        }
        let others: [(&str, Reason); 7] = [
            ("10.1.0.1", Unreachable::Local),
            ("fd01::1", Unreachable::Local),
            ("127.0.0.1", Unreachable::Local),
            ("10.1.0.255", Unreachable::NotUnicast),
            ("ff02::1", Unreachable::NotUnicast),
            ("10.8.0.1", Unreachable::NoRoute),
            ("fd08::1", Unreachable::NoRoute),
        ];
        for (destination, reason) in others {
            let mut subject = Subject::watching(&[destination]).await;
            assert_eq!(subject.reason(destination).await, reason(address(destination)));
        }
    });
}

#[test]
fn a_route_that_leads_off_ethernet_is_refused() {
    Lab::run(async |lab| {
        lab.host.ip("route add 10.9.0.1 dev lo");
        let mut subject = Subject::watching(&["10.9.0.1"]).await;
        assert_eq!(
            subject.reason("10.9.0.1").await.to_string(),
            "lo is not an ethernet interface"
        );
    });
}

#[test]
fn a_neighbor_with_a_new_mac_is_noticed() {
    Lab::run(async |lab| {
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);

        lab.host.sysctl("net/ipv4/neigh/eth0/locktime", "0");
        lab.near.ip("link set eth0 address 02:00:00:00:00:99");
        lab.near.say_hello("10.1.0.1");
        loop {
            if subject.event().await == Event::RoutesChanged {
                break;
            }
        }
        let expected = NextHop {
            destination: [2, 0, 0, 0, 0, 0x99],
            ..VIA_NEAR
        };
        assert_eq!(subject.next_hop("10.1.0.2").await, expected);
    });
}

#[test]
fn a_neighbor_that_moved_silently_is_found_out() {
    Lab::run(async |lab| {
        lab.host.hurry();
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);

        // No traffic goes there, as none would that the data plane sends.
        lab.near.ip("link set eth0 address 02:00:00:00:00:99");
        let expected = NextHop {
            destination: [2, 0, 0, 0, 0, 0x99],
            ..VIA_NEAR
        };
        assert_eq!(subject.next_hop("10.1.0.2").await, expected);
    });
}

#[test]
fn an_interface_with_a_new_mac_is_noticed() {
    Lab::run(async |lab| {
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);
        lab.host.ip("link set eth0 address 02:00:00:00:00:99");
        let expected = NextHop {
            source: [2, 0, 0, 0, 0, 0x99],
            ..VIA_NEAR
        };
        assert_eq!(subject.next_hop("10.1.0.2").await, expected);
    });
}

#[test]
fn a_link_that_goes_down_takes_the_next_hop_with_it_and_brings_it_back() {
    Lab::run(async |lab| {
        // The kernel does not tell of the IPv4 routes that go with a link, but of the IPv6 addresses.
        lab.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);

        lab.host.ip("link set eth0 down");
        assert_eq!(
            subject.reason("10.1.0.2").await,
            Unreachable::NoRoute(address("10.1.0.2"))
        );
        lab.host.ip("link set eth0 up");
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);

        lab.near.ip("link set eth0 down");
        let interface = "eth0".to_owned();
        assert_eq!(
            subject.reason("10.1.0.2").await,
            Unreachable::InterfaceDown { interface }
        );
        lab.near.ip("link set eth0 up");
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);
    });
}

#[test]
fn a_neighbor_that_does_not_answer_is_reported_and_found_when_it_appears() {
    Lab::run(async |lab| {
        lab.host.hurry();
        for destination in ["10.1.0.50", "fd01::50"] {
            let mut subject = Subject::watching(&[destination]).await;
            let interface = "eth0".to_owned();
            let address = address(destination);
            assert_eq!(
                subject.result(destination).await,
                Err(Unreachable::Resolving {
                    address,
                    interface: interface.clone()
                })
            );
            assert_eq!(
                subject.result(destination).await,
                Err(Unreachable::Silent { address, interface })
            );
            // Without the entry the kernel does not ask again by itself. That it has gone is no reason to take hope.
            lab.host.ip(&format!("neighbor del {destination} dev eth0"));
            lab.near.ip(&format!("address add {destination} dev eth0"));
            let way = subject.result(destination).await;
            assert_eq!(way.map(|way| way.next_hop), Ok(VIA_NEAR));
        }
    });
}

#[test]
fn every_newly_watched_destination_is_reported_and_no_other() {
    Lab::run(async |_| {
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        assert_eq!(subject.next_hop("10.1.0.2").await, VIA_NEAR);

        subject.watch(&["10.1.0.2", "10.1.0.1"]);
        let expected = Event::Way {
            destination: address("10.1.0.1"),
            result: Err(Unreachable::Local(address("10.1.0.1"))),
        };
        assert_eq!(subject.event().await, expected);

        subject.watch(&["10.1.0.1"]);
        subject.watch(&["10.1.0.1", "10.2.0.1"]);
        let expected = Event::Way {
            destination: address("10.2.0.1"),
            result: Err(Unreachable::Local(address("10.2.0.1"))),
        };
        assert_eq!(subject.event().await, expected);
    });
}

#[test]
fn the_kernel_is_told_to_keep_neighbors_while_they_are_watched() {
    Lab::run(async |lab| {
        let mut subject = Subject::watching(&["10.1.0.2"]).await;
        subject.next_hop("10.1.0.2").await;
        assert!(lab.host.ip("neighbor show 10.1.0.2").contains("managed"));

        // The first is let go of before the second is asked for.
        subject.watch(&["10.2.0.2"]);
        subject.next_hop("10.2.0.2").await;
        assert!(!lab.host.ip("neighbor show 10.1.0.2").contains("managed"));
        assert!(lab.host.ip("neighbor show 10.2.0.2").contains("managed"));
    });
}

#[test]
fn entries_that_someone_else_keeps_are_used_and_left_as_they_are() {
    Lab::run(async |lab| {
        lab.host
            .ip("neighbor add 10.1.0.60 lladdr 02:00:00:00:00:60 dev eth0 nud permanent");
        lab.host
            .ip("neighbor add 10.1.0.61 lladdr 02:00:00:00:00:61 dev eth0 nud reachable extern_learn");
        let kept = [("10.1.0.60", 0x60), ("10.1.0.61", 0x61)];
        for (destination, last) in kept {
            let mut subject = Subject::watching(&[destination]).await;
            let expected = NextHop {
                destination: [2, 0, 0, 0, 0, last],
                ..VIA_NEAR
            };
            assert_eq!(subject.next_hop(destination).await, expected);

            // Once a second neighbour has answered, the first would have been asked for and let go of.
            subject.watch(&["10.1.0.2"]);
            subject.next_hop("10.1.0.2").await;
        }
        assert!(lab.host.ip("neighbor show 10.1.0.60").contains("PERMANENT"));
        assert!(lab.host.ip("neighbor show 10.1.0.61").contains("extern_learn"));
    });
}

#[test]
fn a_neighbor_is_resolved_on_request() {
    Lab::run(async |_| {
        let subject = Subject::watching(&[]).await;
        let (connection, _handle, mut messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh]).unwrap();
        tokio::spawn(connection);

        subject.neighbors.request(VIA_NEAR.interface, address("10.1.0.2"));
        let resolved = async {
            while let Some((message, _)) = messages.next().await {
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) = message.payload
                    && message.header.state == NeighbourState::Reachable
                {
                    return message.attributes;
                }
            }
            panic!("the netlink socket has failed");
        };
        let attributes = timeout(DEADLINE, resolved).await.expect("not resolved in time");
        let expected = NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 1, 0, 2].into()));
        assert!(attributes.contains(&expected), "{attributes:?}");
    });
}

/// Sees what raises [`Event::RoutesChanged`].
///
/// The kernel tells everything in order: when the next hop of an address that was unknown so far is reported, all that
/// happened before has been taken in. Making it known does not raise the event by itself, as nobody can have used it.
/// The addresses are marked as kept by someone else, so that nothing but the test changes them.
struct Witness {
    subject: Subject,
    marks: std::ops::Range<u8>,
}

impl Witness {
    async fn start(lab: &Lab) -> Self {
        let marks = 100..120;
        let unknown: Vec<String> = marks.clone().map(mark).collect();
        for mark in &unknown {
            lab.host
                .ip(&format!("neighbor add {mark} dev eth0 nud failed extern_learn"));
        }
        let destinations: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let mut subject = Subject::watching(&destinations).await;
        let mut reported = 0;
        while reported < destinations.len() {
            reported += usize::from(matches!(subject.event().await, Event::Way { .. }));
        }
        Self { subject, marks }
    }

    /// Whether what has been done since the last call has raised the event.
    async fn routes_changed(&mut self, lab: &Lab) -> bool {
        let mark = mark(self.marks.next().expect("more marks are needed"));
        lab.host.ip(&format!(
            "neighbor replace {mark} lladdr 02:00:00:00:00:01 dev eth0 nud reachable extern_learn"
        ));
        let mut changed = false;
        loop {
            match self.subject.event().await {
                Event::RoutesChanged => changed = true,
                Event::Way {
                    destination,
                    result: Ok(_),
                } if destination == address(&mark) => return changed,
                Event::Way { .. } => {}
            }
        }
    }
}

fn mark(number: u8) -> String {
    format!("10.1.0.{number}")
}

#[test]
fn only_what_makes_a_remembered_route_wrong_voids_the_routes() {
    Lab::run(async |lab| {
        // Addresses and routes of IPv6 come and go by themselves.
        lab.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let mut witness = Witness::start(lab).await;
        let neighbor = "neighbor replace 10.1.0.70 dev eth0 lladdr";
        for (change, voids) in [
            (format!("{neighbor} 02:00:00:00:00:0a nud reachable"), false),
            (format!("{neighbor} 02:00:00:00:00:0a nud stale"), false),
            (format!("{neighbor} 02:00:00:00:00:0a nud delay"), false),
            (format!("{neighbor} 02:00:00:00:00:0a nud reachable"), false),
            (format!("{neighbor} 02:00:00:00:00:0b nud reachable"), true),
            ("neighbor change 10.1.0.70 dev eth0 nud failed".to_owned(), true),
            (format!("{neighbor} 02:00:00:00:00:0b nud stale"), false),
            ("neighbor del 10.1.0.70 dev eth0".to_owned(), true),
            ("route add 10.9.0.0/16 via 10.1.0.2".to_owned(), true),
            ("route replace 10.9.0.0/16 via 10.2.0.2".to_owned(), true),
            ("route del 10.9.0.0/16".to_owned(), true),
            ("rule add to 10.9.0.0/16 table 100".to_owned(), true),
            ("rule del to 10.9.0.0/16 table 100".to_owned(), true),
            ("address add 10.3.0.1/24 dev eth1".to_owned(), true),
            ("link set eth1 mtu 1400".to_owned(), true),
            ("link set eth1 alias outside".to_owned(), false),
            ("link set eth1 down".to_owned(), true),
        ] {
            lab.host.ip(&change);
            assert_eq!(witness.routes_changed(lab).await, voids, "{change}");
        }
    });
}

#[test]
fn what_was_not_told_for_lack_of_room_is_asked_for() {
    Lab::run(async |lab| {
        lab.host.ip("route add 10.9.0.0/16 via 10.1.0.2");
        let mut subject = Subject::watching(&["10.9.0.1"]).await;
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        // Nothing is taken from the sockets meanwhile, as this thread is the only one of the runtime.
        let routes: Vec<String> = (0..4_096)
            .map(|number| format!("route add 10.10.{}.{} via 10.1.0.2", number / 256, number % 256))
            .collect();
        lab.host.ip_batch(&routes);
        lab.host.ip("route replace 10.9.0.0/16 via 10.2.0.2");
        assert_eq!(subject.event().await, Event::RoutesChanged);
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_FAR);
    });
}

#[test]
fn what_the_kernel_does_not_tell_is_found_in_time() {
    Lab::run(async |lab| {
        lab.host.sysctl("net/ipv4/nexthop_compat_mode", "0");
        lab.host.ip("nexthop add id 1 via 10.1.0.2 dev eth0");
        lab.host.ip("route add 10.9.0.0/16 nhid 1");
        let mut subject = Subject::watching(&["10.9.0.1"]).await;
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_NEAR);

        lab.host.ip("nexthop replace id 1 via 10.2.0.2 dev eth1");
        time::pause();
        time::advance(Duration::from_mins(1)).await;
        time::resume();
        assert_eq!(subject.event().await, Event::RoutesChanged);
        assert_eq!(subject.next_hop("10.9.0.1").await, VIA_FAR);
    });
}

#[test]
fn interfaces_are_listed_as_they_are() {
    Lab::run(async |lab| {
        lab.host.ip("link set eth0 mtu 1400");
        lab.host.ip("link set eth1 down");
        let interfaces = interfaces().await.unwrap();

        let eth0 = interfaces.by_name("eth0").unwrap();
        assert_eq!(eth0.index, VIA_NEAR.interface);
        assert_eq!(eth0.mac, Some(VIA_NEAR.source));
        assert_eq!(eth0.mtu, 1_400);
        assert!(eth0.up);
        assert_eq!(interfaces.by_index(eth0.index), Some(eth0));

        assert!(!interfaces.by_name("eth1").unwrap().up);
        assert_eq!(interfaces.by_name("lo").unwrap().mac, None);
        assert_eq!(interfaces.by_name("eth2"), None);
    });
}

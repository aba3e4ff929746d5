//! The way to clients: what the host's routing says, and what is remembered of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use balancer_common::{
    abi::{ANY_PORT, Mac, NeighborRequest, ROUTE_CACHE, protocol::TCP},
    hash,
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Report, Transport, backend, service};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::{
    cases::{FAMILIES, Family, V4, V6},
    setting::{CLIENT, GATEWAY, answered, assert_told, converse, know_clients, serve_all, served_at, served_by},
};

/// MAC of the gateway on the other way out.
const OTHER_GATEWAY: Mac = [2, 0, 0, 0, 0xcc, 3];

/// The gateway on the other way out.
fn other_gateway(family: Family) -> &'static str {
    if family.vip.is_ipv4() {
        "10.3.0.254"
    } else {
        "fd00:3::fe"
    }
}

fn know_other_gateways(host: &Host<'_>) {
    for family in FAMILIES {
        let gateway = other_gateway(family).parse().unwrap();
        host.know_neighbor(Interface::OTHER, gateway, OTHER_GATEWAY);
    }
}

/// A reply to a client on a flow of its own.
fn reply_to(host: &mut Host<'_>, family: Family, client: IpAddr) -> Packet {
    converse(host, family, Transport::ack(), SocketAddr::new(client, 40_000))
}

#[track_caller]
fn assert_dropped(host: &mut Host<'_>, reply: &Packet, reason: &'static str) {
    let counted = host.count(|host| {
        host.receive(Interface::BACKENDS, &reply.frame())
            .assert(reason, Action::Drop, &reply.frame());
    });
    assert_eq!(counted, Ledger::drop(reason));
}

#[track_caller]
fn assert_sent(host: &mut Host<'_>, family: Family, reply: &Packet, way: Interface, neighbor: Mac) {
    let expected = reply.returned(way.to(neighbor), served_at(family));
    host.receive(Interface::BACKENDS, &reply.frame()).assert(
        &format!("to {} by {}", reply.destination, way.name),
        Action::Redirect,
        &expected.frame(),
    );
}

/// Every CPU remembers routes for itself.
fn stay_on_this_cpu() {
    let mut this = CpuSet::new();
    this.set(sched_getcpu());
    sched_setaffinity(None, &this).unwrap();
}

#[test]
fn a_client_without_a_route_gets_nothing_until_there_is_one() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let reply = reply_to(host, family, family.client);
            assert_dropped(host, &reply, "no_route");
        }
        know_clients(host);
        for family in FAMILIES {
            let reply = reply_to(host, family, family.client);
            assert_sent(host, family, &reply, Interface::CLIENTS, GATEWAY);
        }
    });
}

#[test]
fn a_route_that_refuses_is_obeyed() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            for kind in ["blackhole", "unreachable", "prohibit"] {
                let reply = reply_to(host, family, family.client);
                host.ip(&format!("route add {kind} {}", family.client));
                assert_dropped(host, &reply, "route_refused");
                host.ip(&format!("route delete {kind} {}", family.client));
            }
        }
    });
}

#[test]
fn a_host_that_may_not_forward_does_not() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        let ingress = Interface::BACKENDS.name;
        for (family, parameter) in FAMILIES.into_iter().zip(["ipv4", "ipv6"]) {
            let reply = reply_to(host, family, family.client);
            host.sysctl(&format!("net.{parameter}.conf.{ingress}.forwarding"), "0");
            assert_dropped(host, &reply, "forwarding_disabled");
            host.sysctl(&format!("net.{parameter}.conf.{ingress}.forwarding"), "1");
            assert_sent(host, family, &reply, Interface::CLIENTS, GATEWAY);
        }
    });
}

#[test]
fn a_reply_that_does_not_fit_is_reported_to_its_backend_whether_the_way_is_remembered_or_not() {
    /// Bytes of the headers in front of the payload.
    fn headers(family: Family) -> usize {
        if family.vip.is_ipv4() { 40 } else { 60 }
    }
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        host.ip(&format!("link set {} mtu 1400", Interface::CLIENTS.name));
        for family in FAMILIES {
            let reply = |host: &mut Host<'_>, length: usize| Packet {
                payload: vec![0xa5; length - headers(family)],
                ..reply_to(host, family, family.client)
            };
            let (fitting, larger, jumbo) = (reply(host, 1_400), reply(host, 1_401), reply(host, 9_000));
            assert_told(host, "larger", Interface::BACKENDS, &larger, Report::TooBig(1_400));
            assert_sent(host, family, &fitting, Interface::CLIENTS, GATEWAY);
            assert_told(host, "larger", Interface::BACKENDS, &larger, Report::TooBig(1_400));
            assert_told(host, "jumbo", Interface::BACKENDS, &jumbo, Report::TooBig(1_400));
        }
    });
}

#[test]
fn the_daemon_is_asked_for_a_neighbour_that_is_not_known() {
    /// How long a request may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    // Client, neighbour on the way, and the interface that it is on.
    let cases = [
        (V4, "10.1.0.9", "10.1.0.9", Interface::CLIENTS),
        (V6, "fd00:1::9", "fd00:1::9", Interface::CLIENTS),
        (V4, "198.51.100.9", "10.1.0.254", Interface::CLIENTS),
        (V6, "2001:db8:9::9", "fd00:1::fe", Interface::CLIENTS),
        (V4, "203.0.113.9", "fd00:3::fe", Interface::OTHER),
    ];
    Host::run(|host| {
        serve_all(host);
        host.ip("route add default via 10.1.0.254");
        host.ip("route add default via fd00:1::fe");
        // An IPv4 network behind an IPv6 router (RFC 8950).
        host.ip(&format!(
            "route add 203.0.113.0/24 via inet6 fd00:3::fe dev {}",
            Interface::OTHER.name
        ));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut requests = host.neighbor_requests();
            for (family, client, neighbor, interface) in cases {
                let reply = reply_to(host, family, client.parse().unwrap());
                assert_dropped(host, &reply, "no_neighbor");
                let request = tokio::time::timeout(PATIENCE, requests.recv()).await;
                let expected = NeighborRequest {
                    address: neighbor.parse::<IpAddr>().unwrap().into(),
                    interface: interface.index,
                    _padding: 0,
                };
                assert_eq!(request.expect("the daemon is asked").unwrap(), expected, "{client}");
                host.know_neighbor(interface, neighbor.parse().unwrap(), CLIENT);
                assert_sent(host, family, &reply, interface, CLIENT);
            }
        });
    });
}

#[test]
fn an_ipv4_client_behind_an_ipv6_router_is_reached() {
    Host::run(|host| {
        serve_all(host);
        know_other_gateways(host);
        host.ip(&format!(
            "route add {} via inet6 fd00:3::fe dev {}",
            V4.client,
            Interface::OTHER.name
        ));
        let reply = reply_to(host, V4, V4.client);
        assert_sent(host, V4, &reply, Interface::OTHER, OTHER_GATEWAY);
    });
}

#[test]
fn a_way_is_remembered_until_the_daemon_has_it_forgotten() {
    Host::run(|host| {
        stay_on_this_cpu();
        serve_all(host);
        know_clients(host);
        know_other_gateways(host);
        for family in FAMILIES {
            let reply = reply_to(host, family, family.client);
            assert_sent(host, family, &reply, Interface::CLIENTS, GATEWAY);
            host.ip(&format!("route add {} via {}", family.client, other_gateway(family)));
            assert_sent(host, family, &reply, Interface::CLIENTS, GATEWAY);
            host.dataplane().forget_routes().unwrap();
            assert_sent(host, family, &reply, Interface::OTHER, OTHER_GATEWAY);
            host.know_neighbor(Interface::OTHER, other_gateway(family).parse().unwrap(), CLIENT);
            assert_sent(host, family, &reply, Interface::OTHER, OTHER_GATEWAY);
            host.dataplane().forget_routes().unwrap();
            assert_sent(host, family, &reply, Interface::OTHER, CLIENT);
        }
    });
}

#[test]
fn clients_that_share_a_place_in_memory_keep_their_own_ways() {
    let place = |address: IpAddr| hash::scale(hash::client(address.into(), ANY_PORT), ROUTE_CACHE / 2);
    let wanted = place(V4.client);
    // Two are remembered in one place.
    let others: Vec<_> = (1..u32::MAX)
        .map(|number| IpAddr::from((0xcb00_0000 + number).to_be_bytes()))
        .filter(|address| place(*address) == wanted)
        .take(2)
        .collect();
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        know_other_gateways(host);
        for other in &others {
            host.ip(&format!("route add {other} via {}", other_gateway(V4)));
        }
        let first = reply_to(host, V4, V4.client);
        let others: Vec<_> = others.iter().map(|&other| reply_to(host, V4, other)).collect();
        for number in [0, 1, 0, 0, 1, 1] {
            assert_sent(host, V4, &first, Interface::CLIENTS, GATEWAY);
            assert_sent(host, V4, &others[number], Interface::OTHER, OTHER_GATEWAY);
        }
    });
}

/// Sends by the other way whatever a rule applies to.
fn route_by_rule(host: &Host<'_>, family: Family, rule: &str) {
    let ip = if family.vip.is_ipv4() { "-4" } else { "-6" };
    let gateway = other_gateway(family);
    host.ip(&format!("{ip} route add default via {gateway} table 100"));
    host.ip(&format!("{ip} rule add {rule} table 100"));
}

#[test]
fn a_rule_on_the_source_applies_to_the_services_address() {
    for family in FAMILIES {
        Host::run(|host| {
            know_clients(host);
            know_other_gateways(host);
            route_by_rule(host, family, &format!("from {}", family.other_vip));
            let (web, api) = (served_by(family), SocketAddr::new(family.other_backend, 8080));
            host.serve([
                service("web", family.vip, TCP, &[80], [backend(web)]),
                service("api", family.other_vip, TCP, &[80], [backend(api)]),
            ]);
            let client = SocketAddr::new(family.client, 40_000);
            let vip = SocketAddr::new(family.other_vip, 80);
            let by_default = converse(host, family, Transport::ack(), client);
            let by_rule = answered(host, &Packet::new(Transport::ack(), client, vip), api);
            for _ in 0..3 {
                assert_sent(host, family, &by_default, Interface::CLIENTS, GATEWAY);
                let expected = by_rule.returned(Interface::OTHER.to(OTHER_GATEWAY), vip);
                host.receive(Interface::BACKENDS, &by_rule.frame()).assert(
                    "by rule",
                    Action::Redirect,
                    &expected.frame(),
                );
            }
        });
    }
}

#[test]
fn a_rule_on_the_protocol_applies_to_packets_of_that_protocol_alone() {
    for family in FAMILIES {
        Host::run(|host| {
            serve_all(host);
            know_clients(host);
            know_other_gateways(host);
            route_by_rule(host, family, "ipproto udp");
            let client = SocketAddr::new(family.client, 40_000);
            let tcp = converse(host, family, Transport::ack(), client);
            let udp = converse(host, family, Transport::Udp, client);
            for _ in 0..3 {
                assert_sent(host, family, &tcp, Interface::CLIENTS, GATEWAY);
                assert_sent(host, family, &udp, Interface::OTHER, OTHER_GATEWAY);
            }
        });
    }
}

#[test]
fn a_rule_on_the_interface_applies_to_what_came_in_by_it_alone() {
    for family in FAMILIES {
        Host::run(|host| {
            serve_all(host);
            know_clients(host);
            know_other_gateways(host);
            route_by_rule(host, family, &format!("iif {}", Interface::OTHER.name));
            let reply = reply_to(host, family, family.client);
            for _ in 0..3 {
                assert_sent(host, family, &reply, Interface::CLIENTS, GATEWAY);
                let expected = reply.returned(Interface::OTHER.to(OTHER_GATEWAY), served_at(family));
                host.receive(Interface::OTHER, &reply.frame())
                    .assert("by rule", Action::Transmit, &expected.frame());
            }
        });
    }
}

//! What senders are told of packets that go no further.

use std::net::SocketAddr;

use balancer::reconcile::DesiredBackend;
use balancer_common::{
    Event,
    abi::{
        Forwarding,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Report, Transport, backend, next_hop, service};

use super::{error, error_kinds, router};
use crate::{
    cases::{FAMILIES, Family, additions, clients},
    setting::{GATEWAY, answered, assert_told, know_clients, serve_all, served_at, served_by},
};

/// How many answers a host gets at once.
const BURST: usize = 20;

/// Serves UDP port 80 by a backend to which packets of `mtu` bytes fit.
fn serve_narrowly(host: &mut Host<'_>, family: Family, forwarding: Forwarding, mtu: u16) {
    let target = DesiredBackend {
        mtu,
        ..backend(SocketAddr::new(family.backend, 0))
    };
    let mut udp = service("udp", family.vip, UDP, &[80], [target]);
    udp.forwarding = forwarding;
    host.serve([udp]);
}

/// A datagram in an IP packet of so many bytes.
fn datagram(family: Family, client: SocketAddr, length: usize) -> Packet {
    let headers = if family.vip.is_ipv4() { 28 } else { 48 };
    Packet {
        payload: vec![0xa5; length - headers],
        ..Packet::new(Transport::Udp, client, served_at(family))
    }
}

#[test]
fn an_error_has_as_much_of_the_packet_as_it_may_and_its_tags() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            // A host of its own for each, so that all are told.
            let mut host_number = 0_u8;
            for length in [28, 29, 30, 31, 33, 547, 548, 549, 1_231, 1_232, 1_233, 1_499, 1_500] {
                if !family.vip.is_ipv4() && length < 48 {
                    continue;
                }
                host_number += 1;
                let client = SocketAddr::new(family.host(host_number), 40_000);
                let packet = Packet {
                    ttl: 1,
                    ..datagram(family, client, length)
                };
                assert_told(
                    host,
                    &format!("{length} bytes"),
                    Interface::CLIENTS,
                    &packet,
                    Report::TimeExceeded,
                );
            }
            for (case, add) in additions(family) {
                host_number += 1;
                let client = SocketAddr::new(family.host(host_number), 40_000);
                let mut packet = Packet::new(Transport::ack(), client, served_at(family));
                add(&mut packet);
                packet.ttl = 1;
                assert_told(host, case, Interface::CLIENTS, &packet, Report::TimeExceeded);
            }
        }
    });
}

#[test]
fn what_does_not_fit_on_the_way_to_the_backend_is_reported_in_every_way_of_forwarding() {
    const MTU: u16 = 1_400;
    for family in FAMILIES {
        for forwarding in [Forwarding::Nat, Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
            Host::run(|host| {
                serve_narrowly(host, family, forwarding, MTU);
                let overhead = match (forwarding, family.vip.is_ipv4()) {
                    (Forwarding::Ipip, true) => 20,
                    (Forwarding::Ipip, false) => 40,
                    (Forwarding::Gue, true) => 32,
                    (Forwarding::Gue, false) => 52,
                    _ => 0,
                };
                let fits = MTU - overhead;
                let client = SocketAddr::new(family.client, 40_000);
                let outcome = host.receive(Interface::CLIENTS, &datagram(family, client, fits.into()).frame());
                assert_eq!(outcome.action, Action::Redirect, "{forwarding:?}");
                for length in [fits + 1, 1_500, 9_000] {
                    let packet = datagram(family, client, length.into());
                    assert_told(
                        host,
                        &format!("{forwarding:?}: {length} bytes"),
                        Interface::CLIENTS,
                        &packet,
                        Report::TooBig(fits),
                    );
                }
            });
        }
    }
}

#[test]
fn no_less_is_told_than_every_link_has_to_carry() {
    for (family, least) in [(FAMILIES[0], 68), (FAMILIES[1], 1_280)] {
        Host::run(|host| {
            serve_narrowly(host, family, Forwarding::Nat, 60);
            let client = SocketAddr::new(family.client, 40_000);
            let packet = datagram(family, client, 1_400);
            assert_told(host, "narrow", Interface::CLIENTS, &packet, Report::TooBig(least));
        });
    }
}

#[test]
fn a_host_is_told_of_so_many_packets_at_once_and_others_still_are() {
    Host::run(|host| {
        serve_all(host);
        for family in FAMILIES {
            let late = |client| Packet {
                ttl: 1,
                ..datagram(family, client, 100)
            };
            let counted = host.count(|host| {
                for client in clients(family.client).take(200) {
                    host.receive(Interface::CLIENTS, &late(client).frame());
                }
            });
            let told = counted.events[Event::SenderTold.label()];
            let not_told = counted.events[Event::SenderNotTold.label()];
            assert_eq!(counted.drops, Ledger::drop_of("ttl_expired", 200).drops);
            assert_eq!(told + not_told, 200);
            assert!(told >= BURST as u64 && not_told > 100, "{told}");
            let other = late(SocketAddr::new(family.neighbor, 40_000));
            assert_told(host, "another host", Interface::CLIENTS, &other, Report::TimeExceeded);
        }
    });
}

#[test]
fn no_error_is_sent_about_an_error() {
    Host::run(|host| {
        serve_all(host);
        know_clients(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = Packet::new(Transport::ack(), client, served_at(family));
            answered(host, &request, served_by(family));
            let about = Packet {
                ttl: 1,
                ..error(error_kinds(family)[0], router(family), &request.answer(), 20)
            };
            let counted = host.count(|host| {
                host.receive(Interface::CLIENTS, &about.frame())
                    .assert("late", Action::Drop, &about.frame());
            });
            assert_eq!(counted, Ledger::drop("ttl_expired"));
        }
    });
}

#[test]
fn a_new_connection_wants_no_larger_segments_than_the_service_allows_in_either_direction() {
    /// A first packet that asks for segments of so many bytes.
    fn syn(mss: u16, client: SocketAddr, vip: SocketAddr) -> Packet {
        let mut transport = Transport::syn();
        if let Transport::Tcp(header) = &mut transport {
            let [high, low] = mss.to_be_bytes();
            header
                .set_options_raw(&[2, 4, high, low, 4, 2, 1, 3, 3, 7, 1, 0])
                .expect("there is room for the options");
        }
        Packet::new(transport, client, vip)
    }
    Host::run(|host| {
        know_clients(host);
        for family in FAMILIES {
            let target = SocketAddr::new(family.backend, 8080);
            let mut web = service("web", family.vip, TCP, &[80], [backend(target)]);
            web.mss = 1_340;
            host.serve([web]);
            let next_hop = next_hop(target.ip());
            for ((asked, granted), client) in [(1_460, 1_340), (1_341, 1_340), (1_340, 1_340), (536, 536)]
                .into_iter()
                .zip(clients(family.client))
            {
                let expected = syn(granted, client, served_at(family)).forwarded(next_hop, target);
                host.receive(Interface::CLIENTS, &syn(asked, client, served_at(family)).frame())
                    .assert("from the client", Action::Redirect, &expected.frame());

                let reply = syn(asked, target, client);
                let expected = syn(granted, target, client).returned(Interface::CLIENTS.to(GATEWAY), served_at(family));
                host.receive(Interface::BACKENDS, &reply.frame()).assert(
                    "from the backend",
                    Action::Redirect,
                    &expected.frame(),
                );
            }
        }
    });
}

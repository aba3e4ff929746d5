//! From clients to backends at the far end of a tunnel.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use balancer::reconcile::DesiredBackend;
use balancer_common::abi::{
    Forwarding,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{
    Action, Flow, Host, Interface, Ledger, Packet, Report, Transport, Tunnel, backend, next_hop, received, service,
};

use crate::{
    cases::{FAMILIES, Family, V4, V6, additions, clients, kinds},
    setting::{assert_told, name, served_at},
};

const FORWARDINGS: [Forwarding; 2] = [Forwarding::Ipip, Forwarding::Gue];

/// A way into a tunnel: for packets of the VIP's family, to a backend of either.
#[derive(Clone, Copy, Debug)]
struct Way {
    forwarding: Forwarding,
    /// Client and VIP.
    inner: Family,
    /// The backend.
    outer: Family,
}

fn ways() -> impl Iterator<Item = Way> {
    let families = FAMILIES.map(|inner| FAMILIES.map(|outer| (inner, outer)));
    families.into_iter().flatten().flat_map(|(inner, outer)| {
        FORWARDINGS.map(|forwarding| Way {
            forwarding,
            inner,
            outer,
        })
    })
}

impl Way {
    fn tunnel(self) -> Tunnel {
        Tunnel {
            forwarding: self.forwarding,
            source: Interface::BACKENDS.address_of(self.backend()),
            destination: self.backend(),
        }
    }

    fn backend(self) -> IpAddr {
        self.outer.backend
    }

    /// The name that `backend list` has for the backend.
    fn backend_name(self) -> String {
        SocketAddr::new(self.backend(), 0).to_string()
    }

    /// Serves TCP and UDP port 80 of the VIP by one backend, to which packets of `mtu` bytes fit.
    fn serve(self, host: &mut Host<'_>, mtu: u16) {
        host.serve([TCP, UDP].map(|protocol| {
            let target = DesiredBackend {
                mtu,
                ..backend(SocketAddr::new(self.backend(), 0))
            };
            let mut service = service(name(self.inner, protocol), self.inner.vip, protocol, &[80], [target]);
            service.forwarding = self.forwarding;
            service
        }));
    }

    /// Hands the host a client's packet, which has to leave in the tunnel. Returns what it shows of its flow on the way.
    #[track_caller]
    fn assert_taken(self, host: &mut Host<'_>, case: &str, packet: &Packet) -> Flow {
        let outcome = host.receive(Interface::CLIENTS, &packet.frame());
        let flow = Flow::of(&outcome.frame);
        let expected = self.tunnel().frame(&packet.routed(next_hop(self.backend())), flow);
        outcome.assert(&format!("{self:?}: {case}"), Action::Redirect, &expected);
        flow
    }
}

#[test]
fn every_kind_of_packet_reaches_the_backend_inside_another_and_is_counted() {
    for way in ways() {
        Host::run(|host| {
            way.serve(host, 1_500);
            for ((kind, transport, payload), client) in kinds().into_iter().zip(clients(way.inner.client)) {
                let service = name(way.inner, transport.protocol());
                let packet = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport, client, served_at(way.inner))
                };
                for new_flows in [1, 0] {
                    let counted = host.count(|host| {
                        way.assert_taken(host, kind, &packet);
                    });
                    let traffic = received(1, packet.length(), new_flows);
                    let expected = Ledger::of(service, &way.backend_name(), traffic, new_flows);
                    assert_eq!(counted, expected, "{way:?}: {kind}");
                }
            }
        });
    }
}

#[test]
fn what_is_around_the_headers_stays_as_it_is() {
    for way in ways() {
        Host::run(|host| {
            way.serve(host, 9_100);
            let transports = [Transport::syn(), Transport::Udp];
            for (transport, client) in transports.into_iter().zip(clients(way.inner.client)) {
                for (case, addition) in additions(way.inner) {
                    let mut packet = Packet::new(transport.clone(), client, served_at(way.inner));
                    addition(&mut packet);
                    way.assert_taken(host, case, &packet);
                }
            }
        });
    }
}

#[test]
fn the_outer_header_takes_over_every_traffic_class() {
    for way in ways() {
        Host::run(|host| {
            way.serve(host, 1_500);
            let client = SocketAddr::new(way.inner.client, 40_000);
            for traffic_class in 0..=u8::MAX {
                let packet = Packet {
                    traffic_class,
                    ..Packet::new(Transport::ack(), client, served_at(way.inner))
                };
                way.assert_taken(host, "traffic class", &packet);
            }
        });
    }
}

#[test]
fn a_packet_that_does_not_fit_with_its_outer_headers_is_reported_to_its_sender() {
    const MTU: u16 = 1_400;
    for way in ways() {
        Host::run(|host| {
            way.serve(host, MTU);
            let client = SocketAddr::new(way.inner.client, 40_000);
            let mut packet = Packet::new(Transport::Udp, client, served_at(way.inner));
            let headers = usize::try_from(packet.length()).unwrap() - packet.payload.len();
            packet.payload = vec![0xa5; usize::from(MTU) - way.tunnel().overhead() - headers];
            way.assert_taken(host, "just fits", &packet);

            packet.payload.push(0xa5);
            let fits = MTU - u16::try_from(way.tunnel().overhead()).unwrap();
            let case = format!("{way:?}");
            assert_told(host, &case, Interface::CLIENTS, &packet, Report::TooBig(fits));
        });
    }
}

#[test]
fn packets_of_one_flow_look_alike_on_the_way_and_those_of_others_do_not() {
    for (forwarding, outer) in [(Forwarding::Gue, V4), (Forwarding::Gue, V6), (Forwarding::Ipip, V6)] {
        let way = Way {
            forwarding,
            inner: V4,
            outer,
        };
        Host::run(|host| {
            way.serve(host, 1_500);
            let mut seen = HashSet::new();
            for client in clients(way.inner.client).take(100) {
                let first = Packet::new(Transport::syn(), client, served_at(way.inner));
                let second = Packet {
                    payload: b"more".to_vec(),
                    ..Packet::new(Transport::ack(), client, served_at(way.inner))
                };
                let flow = way.assert_taken(host, "first", &first);
                assert_eq!(way.assert_taken(host, "second", &second), flow);
                assert!(flow.port == 0 || flow.port >= 49_152, "{flow:?}");
                seen.insert(flow);
            }
            assert!(seen.len() > 90, "{forwarding:?}: {} of 100 flows", seen.len());
        });
    }
}

#[test]
fn a_backend_of_another_family_takes_flows_beside_one_of_the_vips() {
    for forwarding in FORWARDINGS {
        Host::run(|host| {
            let backends = [V4.backend, V6.backend].map(|address| backend(SocketAddr::new(address, 0)));
            let mut web = service("web", V4.vip, TCP, &[80], backends);
            web.forwarding = forwarding;
            host.serve([web]);
            let mut families = HashSet::new();
            for client in clients(V4.client).take(40) {
                let packet = Packet::new(Transport::syn(), client, served_at(V4));
                let outcome = host.receive(Interface::CLIENTS, &packet.frame());
                assert_eq!(outcome.action, Action::Redirect);
                families.insert(outcome.frame[14] >> 4);
            }
            assert_eq!(families, HashSet::from([4, 6]), "{forwarding:?}");
        });
    }
}

//! From clients to backends that have the VIP themselves.

use std::net::SocketAddr;

use balancer_common::abi::{
    Forwarding,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{
    Action, Host, Interface, Ledger, Packet, Transport, backend, next_hop, received, service,
};

use crate::{
    cases::{FAMILIES, Family, additions, clients, kinds},
    setting::{know_clients, name, served_at},
};

/// Serves TCP and UDP port 80 of the VIPs by one backend each.
fn serve_directly(host: &mut Host<'_>) {
    host.serve(FAMILIES.into_iter().flat_map(|family| {
        [TCP, UDP].map(|protocol| {
            let backends = [backend(served_by(family))];
            let mut service = service(name(family, protocol), family.vip, protocol, &[80], backends);
            service.forwarding = Forwarding::Dsr;
            service
        })
    }));
}

/// The backend of the services of [`serve_directly`].
fn served_by(family: Family) -> SocketAddr {
    SocketAddr::new(family.backend, 0)
}

#[test]
fn every_kind_of_packet_reaches_the_backend_as_it_is_and_is_counted() {
    Host::run(|host| {
        serve_directly(host);
        for family in FAMILIES {
            for ((kind, transport, payload), client) in kinds().into_iter().zip(clients(family.client)) {
                let case = format!("{kind} from {client}");
                let service = name(family, transport.protocol());
                let packet = Packet {
                    payload: payload.to_vec(),
                    ..Packet::new(transport, client, served_at(family))
                };
                let expected = packet.routed(next_hop(family.backend)).frame();
                for new_flows in [1, 0] {
                    let counted = host.count(|host| {
                        host.receive(Interface::CLIENTS, &packet.frame())
                            .assert(&case, Action::Redirect, &expected);
                    });
                    let traffic = received(1, packet.length(), new_flows);
                    let backend = served_by(family).to_string();
                    assert_eq!(counted, Ledger::of(service, &backend, traffic, new_flows), "{case}");
                }
            }
        }
    });
}

#[test]
fn what_is_around_the_headers_stays_as_it_is() {
    Host::run(|host| {
        serve_directly(host);
        for family in FAMILIES {
            for (transport, client) in [Transport::syn(), Transport::Udp]
                .into_iter()
                .zip(clients(family.client))
            {
                for (case, addition) in additions(family) {
                    let mut packet = Packet::new(transport.clone(), client, served_at(family));
                    addition(&mut packet);
                    let expected = packet.routed(next_hop(family.backend)).frame();
                    host.receive(Interface::CLIENTS, &packet.frame())
                        .assert(case, Action::Redirect, &expected);
                }
            }
        }
    });
}

#[test]
fn what_a_backend_says_from_its_own_address_is_no_reply() {
    Host::run(|host| {
        serve_directly(host);
        know_clients(host);
        for family in FAMILIES {
            let client = SocketAddr::new(family.client, 40_000);
            let request = Packet::new(Transport::syn(), client, served_at(family));
            host.receive(Interface::CLIENTS, &request.frame());
            let answer = Packet {
                destination: SocketAddr::new(family.backend, 80),
                ..request
            }
            .answer();
            let counted = host.count(|host| {
                host.receive(Interface::BACKENDS, &answer.frame())
                    .assert("answer", Action::Pass, &answer.frame());
            });
            assert_eq!(counted, Ledger::default());
        }
    });
}

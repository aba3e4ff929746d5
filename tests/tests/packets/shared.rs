//! Backends whose address and port do not tell which service port a reply belongs to.

use std::net::SocketAddr;

use balancer::reconcile::{DesiredBackend, DesiredService};
use balancer_common::abi::{
    BackendFlags, Tracking,
    protocol::{TCP, UDP},
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Transport, backend, replied, service};

use crate::{
    cases::{FAMILIES, Family, V4},
    setting::{GATEWAY, answered, know_clients},
};

/// A reply, and the service that the client takes it for.
struct Conversation {
    reply: Packet,
    service: SocketAddr,
}

impl Conversation {
    /// A client sends a packet to `service`, and the balancer chooses `backend`.
    fn begin(
        host: &mut Host<'_>,
        transport: Transport,
        client: SocketAddr,
        service: SocketAddr,
        backend: SocketAddr,
    ) -> Self {
        let reply = answered(host, &Packet::new(transport, client, service), backend);
        Self { reply, service }
    }

    #[track_caller]
    fn assert_goes_on(&self, host: &mut Host<'_>, case: &str) {
        let expected = self.reply.returned(Interface::CLIENTS.to(GATEWAY), self.service);
        host.receive(Interface::BACKENDS, &self.reply.frame())
            .assert(case, Action::Redirect, &expected.frame());
    }
}

fn web(family: Family, ports: &[u16], target: SocketAddr) -> DesiredService {
    service("web", family.vip, TCP, ports, [backend(target)])
}

fn api(family: Family, ports: &[u16], target: SocketAddr) -> DesiredService {
    service("api", family.other_vip, TCP, ports, [backend(target)])
}

#[test]
fn replies_of_a_backend_of_two_services_carry_the_address_that_the_client_knows() {
    let trackings = [Tracking::Full, Tracking::Changes, Tracking::None];
    for (family, tracking) in FAMILIES
        .into_iter()
        .flat_map(|family| trackings.map(|tracking| (family, tracking)))
    {
        Host::run(|host| {
            know_clients(host);
            let target = SocketAddr::new(family.backend, 8080);
            let services = [
                web(family, &[80, 443], target),
                api(family, &[80], target),
                service("udp", family.vip, UDP, &[80], [backend(target)]),
            ];
            host.serve(services.map(|service| DesiredService { tracking, ..service }));
            let conversations: Vec<_> = [
                (Transport::ack(), family.vip, 80, "web"),
                (Transport::ack(), family.vip, 443, "web"),
                (Transport::ack(), family.other_vip, 80, "api"),
                (Transport::Udp, family.vip, 80, "udp"),
            ]
            .into_iter()
            .zip(40_000..)
            .map(|((transport, vip, port, name), client_port)| {
                let client = SocketAddr::new(family.client, client_port);
                let vip = SocketAddr::new(vip, port);
                (Conversation::begin(host, transport, client, vip, target), name)
            })
            .collect();
            // In any order, and as often as they like.
            for (conversation, name) in conversations.iter().chain(conversations.iter().rev()) {
                let counted = host.count(|host| conversation.assert_goes_on(host, name));
                let traffic = replied(1, conversation.reply.length());
                assert_eq!(counted, Ledger::of(name, &target.to_string(), traffic, 0));
            }
        });
    }
}

#[test]
fn the_last_service_that_a_clients_port_talked_to_gets_the_replies() {
    // The backend sees one connection, whichever service it came through.
    Host::run(|host| {
        know_clients(host);
        let target = SocketAddr::new(V4.backend, 8080);
        host.serve([web(V4, &[80, 443], target)]);
        let client = SocketAddr::new(V4.client, 40_000);
        for port in [80, 443, 80] {
            let vip = SocketAddr::new(V4.vip, port);
            Conversation::begin(host, Transport::ack(), client, vip, target).assert_goes_on(host, "the last");
        }
    });
}

#[test]
fn what_belongs_to_no_flow_passes_a_shared_endpoint_untouched() {
    Host::run(|host| {
        know_clients(host);
        let target = SocketAddr::new(V4.backend, 8080);
        host.serve([web(V4, &[80, 443], target)]);
        let direct = Packet::new(Transport::ack(), target, SocketAddr::new(V4.client, 40_000));
        let counted = host.count(|host| {
            host.receive(Interface::BACKENDS, &direct.frame()).assert(
                "a direct connection",
                Action::Pass,
                &direct.frame(),
            );
        });
        assert_eq!(counted, Ledger::default());
    });
}

/// What becomes shared, and how.
struct Change {
    case: &'static str,
    before: Vec<DesiredService>,
    after: Vec<DesiredService>,
    /// The port of the first VIP that the client has been talking to.
    port: u16,
    /// The port of the backend that its packets go to.
    target_port: u16,
}

#[test]
fn flows_from_before_an_endpoint_was_shared_get_their_replies_as_before() {
    for family in FAMILIES {
        let target = SocketAddr::new(family.backend, 8080);
        let any_port = SocketAddr::new(family.backend, 0);
        let changes = [
            Change {
                case: "a second service",
                before: vec![web(family, &[80], target)],
                after: vec![web(family, &[80], target), api(family, &[80], target)],
                port: 80,
                target_port: 8080,
            },
            Change {
                case: "a second service, first in the configuration",
                before: vec![web(family, &[80], target)],
                after: vec![api(family, &[80], target), web(family, &[80], target)],
                port: 80,
                target_port: 8080,
            },
            Change {
                case: "a second port, behind the first",
                before: vec![web(family, &[80], target)],
                after: vec![web(family, &[80, 443], target)],
                port: 80,
                target_port: 8080,
            },
            Change {
                case: "a second port, before the first",
                before: vec![web(family, &[443], target)],
                after: vec![web(family, &[80, 443], target)],
                port: 443,
                target_port: 8080,
            },
            Change {
                case: "every port",
                before: vec![web(family, &[80], target)],
                after: vec![web(family, &[], target)],
                port: 80,
                target_port: 8080,
            },
            Change {
                case: "a service that has one of the ports that the first keeps",
                before: vec![web(family, &[80, 8080], any_port)],
                after: vec![web(family, &[80, 8080], any_port), api(family, &[80], target)],
                port: 8080,
                target_port: 8080,
            },
            Change {
                case: "a service on one port beside one on every port",
                before: vec![web(family, &[], any_port)],
                after: vec![web(family, &[], any_port), api(family, &[80], target)],
                port: 8080,
                target_port: 8080,
            },
            Change {
                case: "a service on every port beside one on one port",
                before: vec![web(family, &[80], target)],
                after: vec![web(family, &[80], target), api(family, &[], any_port)],
                port: 80,
                target_port: 8080,
            },
        ];
        for change in changes {
            Host::run(|host| {
                know_clients(host);
                host.serve(change.before);
                let vip = SocketAddr::new(family.vip, change.port);
                let seen = SocketAddr::new(family.backend, change.target_port);
                let [old, new] = [40_000, 40_001].map(|port| SocketAddr::new(family.client, port));
                let before = Conversation::begin(host, Transport::ack(), old, vip, seen);
                before.assert_goes_on(host, change.case);
                host.serve(change.after);
                before.assert_goes_on(host, change.case);
                let after = Conversation::begin(host, Transport::ack(), new, vip, seen);
                after.assert_goes_on(host, change.case);
                // The old flow goes on from the client's side too.
                Conversation::begin(host, Transport::ack(), old, vip, seen).assert_goes_on(host, change.case);
            });
        }
    }
}

#[test]
fn flows_of_a_shared_endpoint_go_on_when_it_is_shared_no_more() {
    for family in FAMILIES {
        let target = SocketAddr::new(family.backend, 8080);
        let any_port = SocketAddr::new(family.backend, 0);
        let cases = [
            (
                "the second service stays",
                web(family, &[80], target),
                api(family, &[80], target),
            ),
            ("of every port", web(family, &[80], target), api(family, &[], any_port)),
            ("of one port", web(family, &[], any_port), api(family, &[80], target)),
        ];
        for (case, going, staying) in cases {
            Host::run(|host| {
                know_clients(host);
                host.serve([going, staying.clone()]);
                let port = if staying.ports.is_empty() { 8080 } else { 80 };
                let vip = SocketAddr::new(family.other_vip, port);
                let client = SocketAddr::new(family.client, 40_000);
                let conversation = Conversation::begin(host, Transport::ack(), client, vip, target);
                conversation.assert_goes_on(host, case);
                host.serve([staying]);
                conversation.assert_goes_on(host, case);
            });
        }
    }
}

#[test]
fn a_backend_that_has_lost_a_flow_answers_it_no_more() {
    for (ports, case) in [(&[80][..], "an endpoint of its own"), (&[80, 443], "a shared endpoint")] {
        Host::run(|host| {
            know_clients(host);
            let [first, second] = [V4.backend, V4.other_backend].map(|address| SocketAddr::new(address, 8080));
            let vip = SocketAddr::new(V4.vip, 80);
            let client = SocketAddr::new(V4.client, 40_000);
            host.serve([web(V4, ports, first)]);
            let lost = Conversation::begin(host, Transport::ack(), client, vip, first);
            lost.assert_goes_on(host, case);
            // The first goes down, and the client's next packet goes to the second.
            let down = DesiredBackend {
                weight: 0,
                flags: BackendFlags::DOWN,
                ..backend(first)
            };
            host.serve([service("web", V4.vip, TCP, ports, [down, backend(second)])]);
            let taken_over = Conversation::begin(host, Transport::ack(), client, vip, second);
            let counted = host.count(|host| {
                host.receive(Interface::BACKENDS, &lost.reply.frame())
                    .assert(case, Action::Pass, &lost.reply.frame());
            });
            assert_eq!(counted, Ledger::default(), "{case}");
            taken_over.assert_goes_on(host, case);
        });
    }
}

#[test]
fn a_backend_that_is_removed_and_added_again_goes_on_answering_its_flows() {
    for (ports, case) in [(&[80][..], "an endpoint of its own"), (&[80, 443], "a shared endpoint")] {
        Host::run(|host| {
            know_clients(host);
            let target = SocketAddr::new(V4.backend, 8080);
            let vip = SocketAddr::new(V4.vip, 80);
            let client = SocketAddr::new(V4.client, 40_000);
            host.serve([web(V4, ports, target)]);
            let conversation = Conversation::begin(host, Transport::ack(), client, vip, target);
            host.serve([service("web", V4.vip, TCP, ports, [])]);
            host.receive(Interface::BACKENDS, &conversation.reply.frame()).assert(
                case,
                Action::Pass,
                &conversation.reply.frame(),
            );
            host.serve([web(V4, ports, target)]);
            conversation.assert_goes_on(host, case);
        });
    }
}

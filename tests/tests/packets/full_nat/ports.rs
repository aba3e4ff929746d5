//! Ports of the balancer's own: few of them, asked for by many at once.

use std::{
    collections::HashSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use balancer::reconcile::DesiredService;
use balancer_common::{DropReason, abi::protocol::TCP};
use balancer_tests::{
    lab::eventually,
    packet::{Action, Host, Interface, Ledger, Outcome, Packet, Transport, backend, full_nat, read, service},
};

use super::{IDLE, dropped, forwarded, sources};
use crate::{
    cases::{V4, clients},
    setting::{GATEWAY, know_clients},
};

/// One source address with so many ports.
fn few_ports(protocol: u8, count: u16, idle: u32) -> DesiredService {
    let [source, ..] = sources();
    let plain = service(
        "web",
        V4.vip,
        protocol,
        &[80],
        [backend(SocketAddr::new(V4.backend, 8080))],
    );
    full_nat(plain, &[source], (2_000, 1_999 + count), idle)
}

fn request(transport: Transport, client: SocketAddr) -> Packet {
    Packet::new(transport, client, SocketAddr::new(V4.vip, 80))
}

#[test]
fn a_flow_without_a_free_port_is_refused_and_others_are_not_disturbed() {
    Host::run(|host| {
        host.serve([few_ports(TCP, 1, IDLE)]);
        let target = SocketAddr::new(V4.backend, 8080);
        let [one, two] = [40_000, 40_001].map(|port| request(Transport::ack(), SocketAddr::new(V4.client, port)));
        let source = forwarded(host, "first", &one, target);
        for _ in 0..2 {
            let counted = host.count(|host| {
                let frame = two.frame();
                host.receive(Interface::CLIENTS, &frame)
                    .assert("second", Action::Drop, &frame);
            });
            assert_eq!(counted, Ledger::drop(DropReason::PortsExhausted.label()));
            assert_eq!(forwarded(host, "first", &one, target), source);
        }
    });
}

#[test]
fn a_port_passes_to_another_flow_when_its_flow_has_been_silent_and_not_before() {
    // Reset flows are not waited for here: they keep their ports for a minute, or for as long as open ones if that is
    // shorter.
    for transport in [Transport::ack(), Transport::Udp] {
        Host::run(|host| {
            know_clients(host);
            host.serve([few_ports(transport.protocol(), 1, 1)]);
            let target = SocketAddr::new(V4.backend, 8080);
            let vip = SocketAddr::new(V4.vip, 80);
            let clients = [40_000, 40_001].map(|port| SocketAddr::new(V4.client, port));
            let [one, two] = clients.map(|client| request(transport.clone(), client));
            let source = forwarded(host, "first", &one, target);
            let reply = Packet::new(transport.clone(), target, source);
            // As long as one side of the first flow is heard, the second is refused.
            let busy_until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < busy_until {
                assert_eq!(
                    host.receive(Interface::BACKENDS, &reply.frame()).action,
                    Action::Redirect
                );
                assert_eq!(host.receive(Interface::CLIENTS, &two.frame()).action, Action::Drop);
                thread::sleep(Duration::from_millis(50));
            }
            let taken = eventually("the port becomes free", || {
                let outcome = host.receive(Interface::CLIENTS, &two.frame());
                (outcome.action == Action::Redirect).then(|| read(&outcome.frame).source)
            });
            assert_eq!(taken, source);
            host.receive(Interface::BACKENDS, &reply.frame()).assert(
                "the reply is the second flow's",
                Action::Redirect,
                &reply.translated(Interface::CLIENTS.to(GATEWAY), vip, clients[1]),
            );
            dropped(
                host,
                "the first has lost it",
                Interface::CLIENTS,
                &one,
                DropReason::PortsExhausted,
            );
        });
    }
}

#[test]
fn a_flow_that_wakes_up_before_another_wants_its_port_goes_on() {
    Host::run(|host| {
        know_clients(host);
        host.serve([few_ports(TCP, 1_000, 1)]);
        let target = SocketAddr::new(V4.backend, 8080);
        let client = SocketAddr::new(V4.client, 40_000);
        let one = request(Transport::ack(), client);
        let source = forwarded(host, "first", &one, target);
        let reply = Packet::new(Transport::ack(), target, source);
        // Nothing but silence brings this about, and to ask would break it.
        thread::sleep(Duration::from_secs(4));
        let frame = reply.frame();
        host.receive(Interface::BACKENDS, &frame)
            .assert("silent", Action::Pass, &frame);
        assert_eq!(forwarded(host, "awake", &one, target), source);
        host.receive(Interface::BACKENDS, &frame).assert(
            "awake",
            Action::Redirect,
            &reply.translated(Interface::CLIENTS.to(GATEWAY), SocketAddr::new(V4.vip, 80), client),
        );
    });
}

const THREADS: u16 = 4;

/// The sources that flows get which begin on several threads at once; `None` for one that is refused.
fn at_once(host: &Host<'_>, flows: &[Vec<SocketAddr>]) -> Vec<Vec<Option<SocketAddr>>> {
    let frame = |client: &SocketAddr| request(Transport::syn(), *client).frame();
    let series: Vec<Vec<_>> = flows
        .iter()
        .map(|clients| clients.iter().map(frame).collect())
        .collect();
    let source = |outcome: &Outcome| (outcome.action == Action::Redirect).then(|| read(&outcome.frame).source);
    host.receive_at_once(Interface::CLIENTS, &series)
        .iter()
        .map(|outcomes| outcomes.iter().map(source).collect())
        .collect()
}

/// Flows of which each thread has its own.
fn disjoint(count: u16, first_port: u16) -> Vec<Vec<SocketAddr>> {
    let flow = |thread: u16, number: u16| SocketAddr::new(V4.client, first_port + number * THREADS + thread);
    (0..THREADS)
        .map(|thread| (0..count).map(|number| flow(thread, number)).collect())
        .collect()
}

fn assert_distinct(sources: impl IntoIterator<Item = Option<SocketAddr>>) -> usize {
    let mut taken = HashSet::new();
    for source in sources.into_iter().flatten() {
        assert!(taken.insert(source), "{source} belongs to two flows");
    }
    taken.len()
}

#[test]
fn flows_that_begin_at_once_never_get_the_same_source() {
    const PORTS: u16 = 4_000;
    Host::run(|host| {
        host.serve([few_ports(TCP, PORTS, IDLE)]);
        let mut all = Vec::new();
        let counted = host.count(|host| {
            // More flows than ports, so that the last of them find most taken.
            all = at_once(host, &disjoint(1_200, 1_024)).concat();
        });
        let taken = assert_distinct(all.iter().copied());
        let refused = all.iter().filter(|source| source.is_none()).count();
        assert_eq!(taken + refused, 4_800);
        assert_eq!(
            counted.drops.get("ports_exhausted").copied().unwrap_or(0),
            refused as u64
        );
        assert!(taken > usize::from(PORTS) * 9 / 10, "only {taken} ports were found");
    });
}

#[test]
fn packets_of_one_flow_on_several_cpus_get_the_same_source() {
    Host::run(|host| {
        host.serve([few_ports(TCP, 4_000, IDLE)]);
        let flows: Vec<_> = clients(V4.client).take(2_000).collect();
        let sources = at_once(host, &vec![flows; usize::from(THREADS)]);
        assert!(sources.windows(2).all(|threads| threads[0] == threads[1]));
        assert_eq!(assert_distinct(sources[0].iter().copied()), 2_000);
    });
}

#[test]
fn ports_that_are_taken_over_at_once_go_to_one_flow_each() {
    Host::run(|host| {
        host.serve([few_ports(TCP, 200, 1)]);
        let first = at_once(host, &disjoint(300, 1_024)).concat();
        assert!(assert_distinct(first) > 190);
        let late = SocketAddr::new(V4.client, 60_000);
        let late = request(Transport::syn(), late).frame();
        eventually("the ports become free", || {
            (host.receive(Interface::CLIENTS, &late).action == Action::Redirect).then_some(())
        });
        let second = at_once(host, &disjoint(300, 30_000)).concat();
        assert!(assert_distinct(second) > 150);
    });
}

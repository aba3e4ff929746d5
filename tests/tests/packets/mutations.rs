//! Packets that are not what they should be, by the hundred thousand.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
};

use balancer::reconcile::DesiredBackend;
use balancer_common::{
    Event,
    abi::{
        Reason, Traffic,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{
    Action, Extension, Host, Interface, Outcome, Packet, Reading, Specimen, Transport, backend, next_hop, service,
};
use etherparse::{Icmpv4Header, SlicedPacket, TransportSlice, ether_type};
use fastrand::Rng;

use crate::{
    cases::{FAMILIES, Family, clients, kinds},
    setting::{GATEWAY, know_clients},
};

const MUTANTS: u64 = 1_000_000;
const SEED: u64 = 0x6d75_7461_6e74;

/// Client, service and protocol.
type Flow = (SocketAddr, SocketAddr, u8);

/// Watches a host and says when it does something that it must not do.
#[derive(Default)]
struct Witness {
    /// The flows that have begun, with their backends.
    flows: HashMap<Flow, SocketAddr>,
    /// What was sent on.
    traffic: Traffic,
    passed: u64,
    dropped: u64,
    /// Fragments that were sent on: which flows they are of is not known.
    fragments: u64,
    /// Packets whose senders were answered.
    answered: u64,
}

impl Witness {
    fn judge(&mut self, frame: &[u8], outcome: &Outcome) -> Result<(), String> {
        match outcome.action {
            Action::Aborted => return Err("the program failed".to_owned()),
            Action::Redirect => return self.judge_sent(frame, outcome),
            Action::Transmit => return self.judge_answered(frame, outcome),
            Action::Pass => self.passed += 1,
            Action::Drop => self.dropped += 1,
        }
        ensure(outcome.frame == frame, "a frame that is not sent was changed")
    }

    /// An ICMP error or an echo reply to where the frame came from.
    fn judge_answered(&mut self, frame: &[u8], outcome: &Outcome) -> Result<(), String> {
        let answer = &outcome.frame;
        ensure(
            (&answer[..6], &answer[6..12]) == (&frame[6..12], &frame[..6]),
            "answered to somebody else",
        )?;
        let answer = SlicedPacket::from_ethernet(answer).map_err(|error| format!("a malformed answer: {error}"))?;
        let (is_echo, quoted) = match &answer.transport {
            Some(TransportSlice::Icmpv4(message)) => {
                let (kind, quoted) = (message.type_u8(), message.payload());
                let sum = Icmpv4Header::with_checksum(message.header().icmp_type, quoted).checksum;
                ensure(kind == 0 || sum == message.checksum(), "a wrong checksum")?;
                (kind == 0, quoted)
            }
            Some(TransportSlice::Icmpv6(message)) => (message.type_u8() == 129, message.payload()),
            _ => return Err("answered by what is no control message".to_owned()),
        };
        self.answered += 1;
        self.dropped += u64::from(!is_echo);
        let is_from_there = frame.windows(quoted.len()).any(|part| part == quoted);
        ensure(is_echo || is_from_there, "the answer quotes something else")
    }

    fn judge_sent(&mut self, frame: &[u8], outcome: &Outcome) -> Result<(), String> {
        let before = Reading::of(frame).map_err(|error| format!("sent though malformed: {error}"))?;
        let after = Reading::of(&outcome.frame).map_err(|error| format!("malformed by the program: {error}"))?;
        ensure(after.rest == before.rest, "more was changed than is translated")?;
        ensure(before.ttl == after.ttl + 1, "the TTL did not count down by one")?;
        ensure(
            after.checksums_are_right == before.checksums_are_right,
            "a checksum changed between right and wrong",
        )?;
        if after.source == before.source {
            self.judge_forwarded(&before, &after)
        } else {
            self.judge_returned(&before, &after)
        }
    }

    fn judge_forwarded(&mut self, before: &Reading, after: &Reading) -> Result<(), String> {
        let hop = next_hop(after.destination.ip());
        ensure(
            (after.to, after.from) == (hop.destination, hop.source),
            "the wrong next hop",
        )?;
        self.traffic.packets += 1;
        self.traffic.bytes += before.length;
        if before.is_fragment {
            self.fragments += 1;
            return Ok(());
        }
        match self.flows.entry((before.source, before.destination, before.protocol)) {
            Entry::Occupied(known) => ensure(*known.get() == after.destination, "a flow changed its backend"),
            Entry::Vacant(new) => {
                new.insert(after.destination);
                self.traffic.new_flows += 1;
                Ok(())
            }
        }
    }

    fn judge_returned(&mut self, before: &Reading, after: &Reading) -> Result<(), String> {
        let hop = Interface::CLIENTS.to(GATEWAY);
        ensure(
            (after.to, after.from) == (hop.destination, hop.source),
            "the wrong next hop",
        )?;
        ensure(after.destination == before.destination, "both ends were translated")?;
        self.traffic.reply_packets += 1;
        self.traffic.reply_bytes += before.length;
        if before.is_fragment {
            return Ok(());
        }
        let flow = (after.destination, after.source, after.protocol);
        ensure(
            self.flows.get(&flow) == Some(&before.source),
            "a reply on another backend's flow",
        )
    }
}

fn ensure(condition: bool, complaint: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(complaint.to_owned()) }
}

/// Serves port 80 by TCP and UDP, and at another address every port by way of one of the same backends.
fn serve(host: &mut Host<'_>, weight_of_first: u32, numbers: &[u8]) {
    let services = FAMILIES.into_iter().flat_map(|family| {
        let backends = numbers.iter().map(|&number| DesiredBackend {
            weight: if number == 1 { weight_of_first } else { 100 },
            ..backend(SocketAddr::new(family.host(number), 8080))
        });
        let [tcp, udp, any] = ["tcp", "udp", "any"].map(|name| {
            let version = if family.vip.is_ipv4() { 4 } else { 6 };
            format!("{name}-{version}")
        });
        let shared = backend(SocketAddr::new(family.host(2), 8080));
        [
            service(&tcp, family.vip, TCP, &[80], backends.clone()),
            service(&udp, family.vip, UDP, &[80], backends),
            service(&any, family.other_vip, TCP, &[], [shared]),
        ]
    });
    host.serve(services);
}

/// Packets of clients that a service takes.
fn requests(family: Family) -> Vec<Packet> {
    let tag = (ether_type::VLAN_TAGGED_FRAME, 7);
    let mut clients = clients(family.client);
    let mut packet = |transport: Transport, address, port| {
        let client = clients.next().expect("there are ports enough");
        Packet::new(transport, client, SocketAddr::new(address, port))
    };
    let mut packets = Vec::new();
    for (_, transport, payload) in kinds() {
        for _ in 0..4 {
            packets.push(Packet {
                payload: payload.to_vec(),
                ..packet(transport.clone(), family.vip, 80)
            });
        }
    }
    for port in [80, 443, 8080] {
        packets.push(packet(Transport::ack(), family.other_vip, port));
    }
    for transport in [Transport::ack(), Transport::Udp] {
        packets.push(Packet {
            vlans: vec![tag, tag],
            ..packet(transport.clone(), family.vip, 80)
        });
        packets.push(if family.vip.is_ipv4() {
            Packet {
                ipv4_options: vec![148, 4, 0, 0, 1, 1, 0, 0],
                ..packet(transport, family.vip, 80)
            }
        } else {
            Packet {
                extensions: vec![
                    Extension::HopByHop,
                    Extension::Routing(0),
                    Extension::ATOMIC_FRAGMENT,
                    Extension::Authentication,
                    Extension::Destination(1),
                ],
                ..packet(transport, family.vip, 80)
            }
        });
    }
    packets
}

/// Sends a packet that is as it should be, and returns one that its backend answers with.
fn begin(host: &mut Host<'_>, witness: &mut Witness, request: &Packet) -> Packet {
    let frame = request.frame();
    let outcome = host.receive(Interface::CLIENTS, &frame);
    witness.judge(&frame, &outcome).unwrap();
    let flow = (request.source, request.destination, request.transport.protocol());
    Packet {
        destination: witness.flows[&flow],
        ..request.clone()
    }
    .answer()
}

#[test]
fn no_mutant_makes_the_program_fail_send_what_is_malformed_or_move_a_flow() {
    Host::run(|host| {
        know_clients(host);
        serve(host, 100, &[1, 2, 3]);
        let mut witness = Witness::default();
        let mut specimens = Vec::new();
        for request in FAMILIES.into_iter().flat_map(requests) {
            let reply = begin(host, &mut witness, &request);
            specimens.push((Interface::CLIENTS, Specimen::of(&request)));
            specimens.push((Interface::BACKENDS, Specimen::of(&reply)));
        }
        // From here on flows of the first backend, and of others, are where the table would not put them.
        serve(host, 0, &[1, 2, 3, 4]);
        let first_flows = witness.flows.clone();

        let mut witness = Witness {
            flows: witness.flows,
            ..Witness::default()
        };
        let counted = host.count(|host| {
            let mut rng = Rng::with_seed(SEED);
            for number in 0..MUTANTS {
                let (ingress, specimen) = rng.choice(&specimens).unwrap();
                let mutant = specimen.mutant(&mut rng);
                let outcome = host.receive(*ingress, &mutant);
                if let Err(complaint) = witness.judge(&mutant, &outcome) {
                    panic!(
                        "{complaint}: mutant {number} of seed {SEED:#x} by {}, {:?}\n{mutant:02x?}\n{:02x?}",
                        ingress.name, outcome.action, outcome.frame
                    );
                }
            }
        });

        for ((client, service, protocol), backend) in first_flows {
            let answer = host.explain(client, service, protocol);
            assert_eq!(
                Reason::from_u32(answer.reason),
                Some(Reason::Flow),
                "{client} to {service}"
            );
            let name = &host.dataplane().state().backends[&answer.backend].name;
            assert_eq!(*name, backend.to_string(), "{client} to {service}");
        }
        // A first fragment may have begun a flow, or another packet one that a fragment had begun.
        assert!(counted.flows.abs_diff(witness.traffic.new_flows) <= witness.fragments);
        witness.traffic.new_flows = counted.flows;
        assert_eq!(counted.services.values().copied().sum::<Traffic>(), witness.traffic);
        assert_eq!(counted.backends.values().copied().sum::<Traffic>(), witness.traffic);
        assert_eq!(counted.drops.values().sum::<u64>(), witness.dropped);
        let told = counted.events.get(Event::SenderTold.label()).copied().unwrap_or(0);
        let echoes = counted.events.get(Event::EchoAnswered.label()).copied().unwrap_or(0);
        assert_eq!(told + echoes, witness.answered);
        // Mutants that all end in one way would test little.
        let Traffic {
            packets, reply_packets, ..
        } = witness.traffic;
        for often in [packets, reply_packets, witness.passed, witness.dropped] {
            assert!(often > MUTANTS / 50, "{counted:?}");
        }
    });
}

/// Errors about packets of a flow in both directions, and an echo request.
fn messages(request: &Packet, target: SocketAddr) -> [(Interface, Packet); 3] {
    let is_v4 = request.source.is_ipv4();
    let host_of = |end: SocketAddr| SocketAddr::new(end.ip(), 0);
    let about = |packet: &Packet, from: SocketAddr| {
        let kind = if is_v4 { [3, 4] } else { [2, 0] };
        Packet {
            payload: packet.frame()[packet.network()..].to_vec(),
            ..Packet::new(
                Transport::Message(kind, [0, 0, 5, 0]),
                host_of(from),
                host_of(packet.source),
            )
        }
    };
    let kind = if is_v4 { [8, 0] } else { [128, 0] };
    let echo = Transport::Message(kind, [0; 4]);
    let sent = Packet {
        destination: target,
        ..request.clone()
    };
    [
        (Interface::CLIENTS, about(&request.answer(), request.source)),
        (Interface::BACKENDS, about(&sent, target)),
        (
            Interface::CLIENTS,
            Packet::new(echo, host_of(request.source), host_of(request.destination)),
        ),
    ]
}

#[test]
fn no_mutant_of_a_control_message_makes_the_program_fail_or_move_a_flow() {
    const MUTANTS: u64 = 200_000;
    Host::run(|host| {
        know_clients(host);
        serve(host, 100, &[1, 2, 3]);
        let mut witness = Witness::default();
        let mut specimens = Vec::new();
        for request in FAMILIES.into_iter().flat_map(requests) {
            let target = begin(host, &mut witness, &request).source;
            for (ingress, message) in messages(&request, target) {
                specimens.push((ingress, Specimen::of(&message)));
            }
        }
        serve(host, 0, &[1, 2, 3, 4]);
        let mut rng = Rng::with_seed(SEED);
        let mut sent = 0;
        for number in 0..MUTANTS {
            let (ingress, specimen) = rng.choice(&specimens).unwrap();
            let mutant = specimen.mutant(&mut rng);
            let outcome = host.receive(*ingress, &mutant);
            match outcome.action {
                Action::Aborted => panic!("the program failed: mutant {number} of seed {SEED:#x}\n{mutant:02x?}"),
                Action::Pass | Action::Drop => assert_eq!(outcome.frame, mutant, "mutant {number} was changed"),
                Action::Transmit | Action::Redirect => {
                    sent += 1;
                    assert_eq!(outcome.frame.len(), mutant.len(), "mutant {number}");
                }
            }
        }
        assert!(sent > MUTANTS / 10, "{sent} sent");
        for ((client, service, protocol), backend) in witness.flows {
            let answer = host.explain(client, service, protocol);
            assert_eq!(
                Reason::from_u32(answer.reason),
                Some(Reason::Flow),
                "{client} to {service}"
            );
            let name = &host.dataplane().state().backends[&answer.backend].name;
            assert_eq!(*name, backend.to_string(), "{client} to {service}");
        }
    });
}

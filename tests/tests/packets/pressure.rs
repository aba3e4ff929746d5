//! What becomes of flows when there are more than there is room for.

use std::{collections::BTreeSet, net::SocketAddr};

use balancer::reconcile::DesiredService;
use balancer_common::{
    Event,
    abi::{Forwarding, protocol::TCP},
};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, service};

use crate::{
    cases::{V4, clients},
    setting::active,
};

/// Room for flows.
const ROOM: u32 = 1_024;
/// Flows in use before there are more.
const KNOWN: usize = 200;
/// Flows that begin then.
const FLOOD: usize = 8 * ROOM as usize;

fn web(forwarding: Forwarding) -> DesiredService {
    DesiredService {
        forwarding,
        ..service("web", V4.vip, TCP, &[80], (1..=3).map(|number| active(V4, number)))
    }
}

/// Has each of the clients send a packet, which is forwarded.
fn receive(host: &mut Host<'_>, transport: &Transport, clients: impl Iterator<Item = SocketAddr>) {
    for client in clients {
        let packet = Packet::new(transport.clone(), client, SocketAddr::new(V4.vip, 80));
        let outcome = host.receive(Interface::BACKENDS, &packet.frame());
        assert_eq!(outcome.action, Action::Transmit, "{packet:?}");
    }
}

/// The flows that are remembered, by client.
fn remembered(host: &mut Host<'_>) -> BTreeSet<SocketAddr> {
    let mut flows = BTreeSet::new();
    host.dataplane().memory().unwrap().for_each_flow(|key, _| {
        flows.insert(SocketAddr::new(key.client.into(), u16::from_be_bytes(key.client_port)));
    });
    flows
}

/// What the flood of first packets or of packets of flows in use has done to the flows that were in use before: how many are
/// left, how many flows were forgotten in all and how many never remembered.
fn flooded(forwarding: Forwarding, transport: &Transport) -> (usize, u64, u64) {
    let mut counts = None;
    Host::run_with_flows(ROOM, |host| {
        host.serve([web(forwarding)]);
        receive(host, &Transport::ack(), clients(V4.client).take(KNOWN));
        let known = remembered(host);
        assert_eq!(known.len(), KNOWN);
        receive(host, transport, clients(V4.client).skip(KNOWN).take(FLOOD));
        let present = remembered(host);
        assert!(present.len() >= ROOM as usize, "{} flows", present.len());
        let mut event = |event| host.dataplane().event(event).unwrap();
        counts = Some((
            known.intersection(&present).count(),
            event(Event::FlowEvicted),
            event(Event::FlowNotRemembered),
        ));
    });
    counts.expect("the scenario was run to its end")
}

#[test]
fn first_packets_make_room_for_one_another_and_flows_in_use_stay() {
    for forwarding in [Forwarding::Nat, Forwarding::Ipip] {
        let (kept, forgotten, refused) = flooded(forwarding, &Transport::syn());
        assert_eq!((kept, refused), (KNOWN, 0), "{forwarding:?}");
        assert!(
            forgotten >= FLOOD as u64 - 3 * u64::from(ROOM),
            "{forwarding:?}: {forgotten}"
        );
    }
}

#[test]
fn without_room_flows_are_not_remembered_rather_than_forgotten_where_answers_do_not_pass() {
    for forwarding in [Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
        let (kept, forgotten, refused) = flooded(forwarding, &Transport::ack());
        assert_eq!((kept, forgotten), (KNOWN, 0), "{forwarding:?}");
        assert!(
            refused >= FLOOD as u64 - 3 * u64::from(ROOM),
            "{forwarding:?}: {refused}"
        );
    }
}

#[test]
fn without_room_a_flow_whose_answers_pass_is_remembered_in_the_place_of_another() {
    let (_, forgotten, refused) = flooded(Forwarding::Nat, &Transport::ack());
    assert_eq!(refused, 0);
    assert!(forgotten >= FLOOD as u64 - 3 * u64::from(ROOM), "{forgotten}");
}

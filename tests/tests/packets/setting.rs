//! What many scenarios begin with.

use std::net::{IpAddr, SocketAddr};

use balancer::reconcile::DesiredBackend;
use balancer_common::{
    DropReason,
    abi::{
        BackendFlags,
        protocol::{TCP, UDP},
    },
};
use balancer_tests::packet::{Action, Host, Interface, Ledger, Packet, Report, Transport, backend, read, service};

use crate::cases::{FAMILIES, Family};

/// MAC of the client that is a neighbour.
pub(crate) const CLIENT: [u8; 6] = [2, 0, 0, 0, 0xcc, 1];
/// MAC of the gateway to the other clients.
pub(crate) const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0xcc, 2];

/// Serves TCP and UDP port 80 of the VIPs by port 8080 of one backend each.
pub(crate) fn serve_all(host: &mut Host<'_>) {
    host.serve(FAMILIES.into_iter().flat_map(|family| {
        [TCP, UDP].map(|protocol| {
            service(
                name(family, protocol),
                family.vip,
                protocol,
                &[80],
                [backend(served_by(family))],
            )
        })
    }));
}

/// The name that [`serve_all`] gives a service.
pub(crate) fn name(family: Family, protocol: u8) -> &'static str {
    match (family.vip.is_ipv4(), protocol) {
        (true, TCP) => "tcp-v4",
        (true, _) => "udp-v4",
        (false, TCP) => "tcp-v6",
        (false, _) => "udp-v6",
    }
}

/// Where clients find the services of [`serve_all`].
pub(crate) fn served_at(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip, 80)
}

/// The backend of the services of [`serve_all`].
pub(crate) fn served_by(family: Family) -> SocketAddr {
    SocketAddr::new(family.backend, 8080)
}

/// Gives the host its ways to clients.
pub(crate) fn know_clients(host: &Host<'_>) {
    for family in FAMILIES {
        host.know_neighbor(Interface::CLIENTS, family.neighbor, CLIENT);
        host.know_neighbor(Interface::CLIENTS, family.gateway, GATEWAY);
        host.ip(&format!("route add default via {}", family.gateway));
    }
}

/// Begins the flow of a client with a service of [`serve_all`], and returns a packet that the backend answers with.
pub(crate) fn converse(host: &mut Host<'_>, family: Family, transport: Transport, client: SocketAddr) -> Packet {
    let request = Packet::new(transport, client, served_at(family));
    answered(host, &request, served_by(family))
}

/// Sends a client's packet, and returns one that the backend answers with.
pub(crate) fn answered(host: &mut Host<'_>, request: &Packet, backend: SocketAddr) -> Packet {
    let outcome = host.receive(Interface::CLIENTS, &request.frame());
    assert_eq!(outcome.action, Action::Redirect, "{request:?}");
    Packet {
        destination: backend,
        ..request.clone()
    }
    .answer()
}

/// The kernel gets the frame as it came, and nothing is counted.
#[track_caller]
pub(crate) fn assert_passed(host: &mut Host<'_>, case: &str, frame: &[u8]) {
    let counted = host.count(|host| {
        host.receive(Interface::CLIENTS, frame)
            .assert(case, Action::Pass, frame);
    });
    assert_eq!(counted, Ledger::default(), "{case}");
}

/// The frame is dropped for this reason, and counted, and its sender is not told.
#[track_caller]
pub(crate) fn assert_dropped(host: &mut Host<'_>, case: &str, ingress: Interface, frame: &[u8], reason: DropReason) {
    let counted = host.count(|host| host.receive(ingress, frame).assert(case, Action::Drop, frame));
    assert_eq!(counted, Ledger::drop(reason.label()), "{case}");
}

/// Hands the host a packet that goes no further, of which its sender has to be told by whom it was sent to, or by the VIP.
#[track_caller]
pub(crate) fn assert_told(host: &mut Host<'_>, case: &str, ingress: Interface, packet: &Packet, report: Report) {
    let reporter = match FAMILIES.into_iter().find(|family| family.backend == packet.source.ip()) {
        Some(family) => family.vip,
        None => packet.destination.ip(),
    };
    assert_told_by(host, case, ingress, packet, reporter, report);
}

/// Hands the host a packet that goes no further, of which `reporter` has to tell its sender.
#[track_caller]
pub(crate) fn assert_told_by(
    host: &mut Host<'_>,
    case: &str,
    ingress: Interface,
    packet: &Packet,
    reporter: IpAddr,
    report: Report,
) {
    let reason = match report {
        Report::TooBig(_) => DropReason::TooBig,
        Report::TimeExceeded => DropReason::TtlExpired,
        Report::PortUnreachable => DropReason::Rejected,
    };
    let counted = host.count(|host| {
        host.receive(ingress, &packet.frame())
            .assert(case, Action::Transmit, &packet.reported(reporter, report));
    });
    assert_eq!(counted, Ledger::told(reason.label()), "{case}");
}

/// Sends a client's packet, and returns which backend's address and port it then carries.
#[track_caller]
pub(crate) fn backend_of(host: &mut Host<'_>, request: &Packet) -> SocketAddr {
    let outcome = host.receive(Interface::CLIENTS, &request.frame());
    assert_eq!(outcome.action, Action::Redirect, "{request:?}");
    read(&outcome.frame).destination
}

/// A backend's address and port.
pub(crate) fn target(family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(family.host(number), 8080)
}

/// A backend that takes new flows.
pub(crate) fn active(family: Family, number: u8) -> DesiredBackend {
    backend(target(family, number))
}

/// Takes no new flows and keeps those that it has.
pub(crate) fn draining(family: Family, number: u8) -> DesiredBackend {
    DesiredBackend {
        weight: 0,
        ..active(family, number)
    }
}

/// Takes no new flows and loses those that it has.
pub(crate) fn down(family: Family, number: u8) -> DesiredBackend {
    DesiredBackend {
        flags: BackendFlags::DOWN,
        ..draining(family, number)
    }
}

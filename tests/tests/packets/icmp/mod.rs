//! Control messages: echo requests to VIPs, and errors about packets of flows.

mod echo;
mod relayed;
mod reported;
mod ways;

use std::net::{IpAddr, SocketAddr};

use balancer_tests::packet::{Packet, Transport};

use crate::cases::Family;

/// An address without a port.
fn host_of(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

/// A router between clients and balancer.
fn router(family: Family) -> IpAddr {
    let text = if family.vip.is_ipv4() {
        "203.0.113.1"
    } else {
        "2001:db8:2::1"
    };
    text.parse().unwrap()
}

fn echo_request(family: Family) -> Packet {
    let kind = if family.vip.is_ipv4() { [8, 0] } else { [128, 0] };
    let transport = Transport::Message(kind, [0x12, 0x34, 0, 1]);
    Packet::new(transport, host_of(family.client), host_of(family.vip))
}

fn echo_reply(family: Family, request: &Packet) -> Packet {
    let kind = if family.vip.is_ipv4() { [0, 0] } else { [129, 0] };
    Packet {
        transport: Transport::Message(kind, [0x12, 0x34, 0, 1]),
        ttl: 64,
        ..request.answer()
    }
}

/// Types and codes of errors of every kind.
fn error_kinds(family: Family) -> [[u8; 2]; 4] {
    if family.vip.is_ipv4() {
        [[3, 1], [3, 4], [11, 0], [12, 0]]
    } else {
        [[1, 0], [2, 0], [3, 0], [4, 0]]
    }
}

/// An error about a packet, which it quotes up to so many bytes behind the headers in front of the transport's.
pub(crate) fn error(kind: [u8; 2], from: IpAddr, about: &Packet, bytes: usize) -> Packet {
    let end = (about.transport() + bytes).min(about.frame().len());
    let transport = Transport::Message(kind, [0, 0, 0x05, 0x00]);
    Packet {
        payload: about.frame()[about.network()..end].to_vec(),
        ttl: 60,
        ..Packet::new(transport, host_of(from), host_of(about.source.ip()))
    }
}

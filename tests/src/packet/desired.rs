//! Services and backends for a data plane to hold.

use std::net::{IpAddr, SocketAddr};

use balancer::{
    maglev::TableSize,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::{
    abi::{
        Address, AffinityKind, BackendFlags, Forwarding, Limits, NextHop, Selection, SourcePool, Tracking, WhenDown,
    },
    quic::ConnectionIds,
};

use super::Interface;

/// How long idle flows and clients are remembered unless a test says otherwise, in units of the data plane's clock: some
/// minutes.
const TIMEOUT: u32 = 1_000;

/// A service with a small table. No ports means every port.
pub fn service(
    name: &str,
    vip: IpAddr,
    protocol: u8,
    ports: &[u16],
    backends: impl IntoIterator<Item = DesiredBackend>,
) -> DesiredService {
    DesiredService {
        name: name.to_owned(),
        vip: vip.into(),
        ports: ports.iter().map(|port| port.to_be_bytes()).collect(),
        protocol,
        affinity: AffinityKind::ClientIpPort,
        client_mask: Address::mask(128),
        connection_ids: ConnectionIds::DEFAULT,
        timeout: TIMEOUT,
        tracking: Tracking::Full,
        when_down: WhenDown::Reassign,
        mss: u16::MAX,
        pins: Vec::new(),
        source_lists: None,
        limits: Limits::NONE,
        selection: Selection::Maglev,
        forwarding: Forwarding::Nat,
        sources: None,
        table_size: TableSize::new(251).expect("251 is a prime"),
        watches_failures: false,
        backends: backends.into_iter().collect(),
    }
}

/// A service under full NAT that sends from these addresses and ports, and forgets a flow after so many seconds.
pub fn full_nat(service: DesiredService, sources: &[IpAddr], ports: (u16, u16), idle: u32) -> DesiredService {
    let addresses = sources.iter().map(|&address| address.into());
    DesiredService {
        forwarding: Forwarding::FullNat,
        sources: Some(Box::new(SourcePool::new(addresses, ports, idle))),
        ..service
    }
}

/// A backend that serves, on the backends' side, named by its address. Port 0 keeps the client's.
pub fn backend(address: SocketAddr) -> DesiredBackend {
    DesiredBackend {
        name: address.to_string(),
        address: address.ip().into(),
        port: address.port().to_be_bytes(),
        next_hop: next_hop(address.ip()),
        tunnel_source: Interface::BACKENDS.address_of(address.ip()).into(),
        mtu: 9_100,
        weight: 100,
        flags: BackendFlags::KEEPS_FLOWS.with(BackendFlags::KEEPS_CLIENTS),
        server_id: None,
    }
}

/// The next hop of a backend with this address: each has a MAC of its own.
pub fn next_hop(backend: IpAddr) -> NextHop {
    let [.., third, last] = match backend {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let family = if backend.is_ipv4() { 4 } else { 6 };
    NextHop {
        interface: Interface::BACKENDS.index,
        destination: [2, 0, 0xbb, family, third, last],
        source: Interface::BACKENDS.mac,
    }
}

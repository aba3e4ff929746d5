//! What the data plane should hold, from the configuration and what is known of the backends. Pure functions.

use std::{collections::HashMap, net::IpAddr, net::SocketAddr};

use balancer_common::abi::{ANY_PORT, Address, AffinityKind, BackendFlags, Forwarding, NextHop, Port, protocol};

use super::BackendKey;
use crate::{
    config::{self, Affinity, Backend, Config, Protocol, Service},
    health::{Destination, Health, Target},
    neighbors::Unreachable,
    reconcile::{Desired, DesiredBackend, DesiredService, Index},
};

/// Everything that the data plane should hold.
pub(super) fn desired(
    config: &Config,
    health: &HashMap<BackendKey, Health>,
    next_hops: &HashMap<IpAddr, Result<NextHop, Unreachable>>,
) -> Desired {
    let services = config
        .services
        .iter()
        .map(|service| DesiredService {
            name: service.name.clone(),
            vip: service.address.into(),
            ports: service.ports.iter().map(|port| port.to_be_bytes()).collect(),
            protocol: protocol_number(service.protocol),
            affinity: match service.affinity {
                Affinity::ClientIpPort | Affinity::QuicCid => AffinityKind::ClientIpPort,
                Affinity::ClientIp => AffinityKind::ClientIp,
            },
            forwarding: forwarding_kind(service.forwarding),
            table_size: service.maglev_size,
            backends: service
                .backends
                .iter()
                .map(|backend| {
                    let next_hop = next_hops.get(&backend.address);
                    desired_backend(backend, health_of(health, service, backend), next_hop)
                })
                .collect(),
        })
        .collect();
    Desired { services }
}

fn desired_backend(
    backend: &Backend,
    health: Health,
    next_hop: Option<&Result<NextHop, Unreachable>>,
) -> DesiredBackend {
    let (weight, flags) = standing(backend.weight, health);
    DesiredBackend {
        name: backend.name.clone(),
        address: backend.address.into(),
        port: backend.port.map_or(ANY_PORT, u16::to_be_bytes),
        next_hop: next_hop
            .and_then(|next_hop| next_hop.as_ref().ok())
            .copied()
            .unwrap_or_default(),
        weight,
        flags,
    }
}

/// What a backend of this weight and health gets: its weight among new clients, and whether its flows stay.
///
/// A backend of which nothing is known yet serves: a daemon that starts with nobody known to be up would otherwise turn
/// every client away until the first probes have come back.
fn standing(weight: u32, health: Health) -> (u32, BackendFlags) {
    match health {
        Health::Up => (weight, BackendFlags::KEEPS_FLOWS.with(BackendFlags::UP)),
        Health::Unknown => (weight, BackendFlags::KEEPS_FLOWS),
        Health::Down => (0, BackendFlags::DOWN),
    }
}

/// The health of a backend. One that nobody checks is up.
pub(super) fn health_of(health: &HashMap<BackendKey, Health>, service: &Service, backend: &Backend) -> Health {
    if service.health.is_none() {
        return Health::Up;
    }
    health
        .get(&(service.name.clone(), backend.name.clone()))
        .copied()
        .unwrap_or(Health::Unknown)
}

/// What the health checker is to probe.
pub(super) fn targets(config: &Config, health: &HashMap<BackendKey, Health>) -> Vec<Target<BackendKey>> {
    backends(config)
        .filter_map(|(service, backend)| {
            let check = service.health.clone()?;
            // Validation has seen to it that one of these is there, except for a service on every port, whose check
            // then names one.
            let port = check.port.or(backend.port).or_else(|| service.ports.first().copied())?;
            Some(Target {
                key: (service.name.clone(), backend.name.clone()),
                destination: Destination {
                    backend: backend.name.clone(),
                    address: SocketAddr::new(backend.address, port),
                    mark: None,
                },
                check,
                initial: health_of(health, service, backend),
            })
        })
        .collect()
}

/// Every backend with its service.
pub(super) fn backends(config: &Config) -> impl Iterator<Item = (&Service, &Backend)> {
    config
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
}

/// Whether a backend has this address and port.
pub(super) fn has_identity(backend: &Backend, address: Address, port: Port) -> bool {
    Address::from(backend.address) == address && backend.port.map_or(ANY_PORT, u16::to_be_bytes) == port
}

/// The index that the data plane knows a backend by.
pub(super) fn backend_index(known: &Index<'_>, service: &Service, backend: &Backend) -> Option<u32> {
    let service = *known.services.get(service.name.as_str())?;
    let port = backend.port.map_or(ANY_PORT, u16::to_be_bytes);
    known.backends.get(&(service, backend.address.into(), port)).copied()
}

/// The IP protocol number.
pub(super) const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}

const fn forwarding_kind(forwarding: config::Forwarding) -> Forwarding {
    match forwarding {
        config::Forwarding::Nat => Forwarding::Nat,
        config::Forwarding::FullNat => Forwarding::FullNat,
        config::Forwarding::Dsr => Forwarding::Dsr,
        config::Forwarding::Ipip => Forwarding::Ipip,
        config::Forwarding::Gue => Forwarding::Gue,
    }
}

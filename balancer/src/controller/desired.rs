//! What the data plane should hold, from the configuration and what is known of the backends. Pure functions.

use std::net::{IpAddr, SocketAddr};

use balancer_common::{
    abi::{
        ANY_PORT, Address, AffinityKind, BackendFlags, Forwarding, Limits, Port, Selection, Tracking, WhenDown,
        probe_mark, protocol,
    },
    token_bucket::Rate,
};
use xxhash_rust::xxh64::xxh64;

use super::{BackendKey, knowledge::Knowledge, sources::sources, standing::standings};
use crate::{
    config::{self, Affinity, Backend, Config, Pin, PrefixLengths, Protocol, Service, Via},
    dataplane::{ProbeInterfaces, TimerTick},
    health::{Destination, Target},
    neighbors::{Unreachable, Way},
    reconcile::{Desired, DesiredBackend, DesiredPin, DesiredService, Index, PinTarget, State},
};

/// Everything that the data plane should hold.
pub(super) fn desired(config: &Config, knowledge: &Knowledge, timer: TimerTick) -> Desired {
    let services = config.services.iter();
    Desired {
        services: services
            .map(|service| desired_service(config, service, knowledge, timer))
            .collect(),
    }
}

/// What the data plane should hold of one service.
pub(super) fn desired_service(
    config: &Config,
    service: &Service,
    knowledge: &Knowledge,
    timer: TimerTick,
) -> DesiredService {
    DesiredService {
        name: service.name.clone(),
        vip: service.address.into(),
        ports: service.ports.iter().map(|port| port.to_be_bytes()).collect(),
        protocol: protocol_number(service.protocol),
        affinity: match service.affinity {
            Affinity::ClientIpPort => AffinityKind::ClientIpPort,
            Affinity::ClientIp => AffinityKind::ClientIp,
            Affinity::QuicCid => AffinityKind::QuicCid,
        },
        client_mask: client_mask(service, service.affinity_prefix),
        connection_ids: service.quic.connection_ids(),
        timeout: timer.units(service.affinity_timeout),
        tracking: match service.tracking {
            config::Tracking::Full => Tracking::Full,
            config::Tracking::Changes => Tracking::Changes,
            config::Tracking::None => Tracking::None,
        },
        when_down: match service.when_down {
            config::WhenDown::Reassign => WhenDown::Reassign,
            config::WhenDown::Reject => WhenDown::Reject,
            config::WhenDown::Drop => WhenDown::Drop,
        },
        selection: match service.selection {
            config::Selection::Maglev => Selection::Maglev,
            config::Selection::LeastFlows => Selection::LeastFlows,
        },
        pins: service.pins.iter().map(desired_pin).collect(),
        limits: limits(service),
        source_lists: service.sources.clone().filter(|sources| !sources.is_empty()),
        forwarding: forwarding_kind(service.forwarding),
        sources: sources(&config.dataplane, service),
        mss: service.mss.unwrap_or(u16::MAX),
        table_size: service.maglev_size,
        watches_failures: service.passive.is_some(),
        backends: desired_backends(config, service, knowledge),
    }
}

fn desired_backends(config: &Config, service: &Service, knowledge: &Knowledge) -> Vec<DesiredBackend> {
    let standings = standings(&knowledge.circumstances(service), service.panic_threshold);
    let backends = service.backends.iter().zip(standings);
    backends
        .map(|(backend, standing)| {
            let way = tunnelled_way(config, service, backend, knowledge);
            desired_backend(service, backend, standing, way.and_then(Result::ok))
        })
        .collect()
}

fn desired_backend(
    service: &Service,
    backend: &Backend,
    (weight, flags): (u32, BackendFlags),
    way: Option<TunnelledWay>,
) -> DesiredBackend {
    let TunnelledWay { way, source } = way.unwrap_or_default();
    DesiredBackend {
        name: backend.name.clone(),
        address: backend.address.into(),
        port: backend.port.map_or(ANY_PORT, u16::to_be_bytes),
        next_hop: way.next_hop,
        tunnel_source: source.map_or(Address::UNSPECIFIED, Address::from),
        mtu: u16::try_from(way.mtu).unwrap_or(u16::MAX),
        weight,
        flags,
        server_id: (service.affinity == Affinity::QuicCid).then(|| service.quic.number_of(backend)),
    }
}

/// The bits of an address of the service's clients that count.
fn client_mask(service: &Service, lengths: PrefixLengths) -> Address {
    let PrefixLengths { v4, v6 } = lengths;
    Address::mask(if service.address.is_ipv4() {
        BEFORE_V4 + u32::from(v4)
    } else {
        u32::from(v6)
    })
}

fn limits(service: &Service) -> Limits {
    let Some(limits) = service.limits else {
        return Limits::NONE;
    };
    let rate = |limit: Option<config::Rate>| {
        limit.map_or(Rate::UNLIMITED, |limit| {
            Rate::per_second(limit.rate.into(), limit.burst.into())
        })
    };
    Limits {
        per_client: rate(limits.new_flows_per_client),
        client_mask: client_mask(service, limits.client_prefix),
        in_all: rate(limits.new_flows),
    }
}

/// Bits before an IPv4 address in its 128-bit form.
const BEFORE_V4: u32 = 96;

// Whoever changes a seed moves clients.
const PIN_SEEDS: [u64; 2] = [u64::from_be_bytes(*b"pin high"), u64::from_be_bytes(*b"pin  low")];

fn desired_pin(pin: &Pin) -> DesiredPin {
    let before = if pin.prefix.addr().is_ipv4() { BEFORE_V4 } else { 0 };
    DesiredPin {
        client: pin.prefix.network().into(),
        bits: before + u32::from(pin.prefix.prefix_len()),
        target: match &pin.target {
            config::PinTarget::Key(key) => {
                let [high, low] = PIN_SEEDS.map(|seed| xxh64(key.as_bytes(), seed).to_be_bytes());
                let mut hash = [0; 16];
                hash[..8].copy_from_slice(&high);
                hash[8..].copy_from_slice(&low);
                PinTarget::Key(hash)
            }
            config::PinTarget::Backend(name) => PinTarget::Backend(name.clone()),
        },
    }
}

/// The way to a backend, with where packets on it come from if they take a tunnel.
#[derive(Clone, Copy, Default)]
pub(super) struct TunnelledWay {
    way: Way,
    source: Option<IpAddr>,
}

/// How packets for `backend` get there, or why they don't. `None` if that has not been found out yet.
pub(super) fn tunnelled_way(
    config: &Config,
    service: &Service,
    backend: &Backend,
    knowledge: &Knowledge,
) -> Option<Result<TunnelledWay, Unreachable>> {
    let destination = backend.address;
    let way = knowledge.way(destination)?.clone();
    Some(way.and_then(|way| {
        let source = match config.dataplane.tunnel_source.toward(destination) {
            _ if !service.forwarding.is_tunnel() => None,
            Some(configured) => Some(configured),
            None => Some(way.require_source(destination)?),
        };
        Ok(TunnelledWay { way, source })
    }))
}

/// Whether the backend is asked on the way of clients' packets.
fn takes_path(service: &Service, backend: &Backend) -> bool {
    let via = service.health.as_ref().map(|check| check.via);
    via == Some(Via::Path) && backend.address.is_ipv4() == service.address.is_ipv4()
}

/// The interfaces by which probes may leave that take the way of clients' packets: those that are configured, by which packets
/// leave as long as a way is not known yet, and those of the ways.
pub(super) fn probe_interfaces<'a>(config: &'a Config, knowledge: &Knowledge) -> Option<ProbeInterfaces<'a>> {
    let mut backends = backends(config)
        .filter(|(service, backend)| takes_path(service, backend))
        .peekable();
    backends.peek()?;
    let ways = backends.filter_map(|(_, backend)| knowledge.way(backend.address)?.as_ref().ok());
    Some(ProbeInterfaces {
        names: &config.dataplane.interfaces,
        indices: ways.map(|way| way.next_hop.interface).collect(),
    })
}

/// What the health checker is to probe, where the data plane holds `state`.
pub(super) fn targets(config: &Config, knowledge: &Knowledge, state: &State) -> Vec<Target<BackendKey>> {
    let known = &state.index;
    backends(config)
        .filter_map(|(service, backend)| {
            let check = service.health.clone()?;
            // Validation has seen to it that one of these is there, except for a service on every port, whose check
            // then names one.
            let port = check.port.or(backend.port).or_else(|| service.ports.first().copied())?;
            let mark = if takes_path(service, backend) {
                Some(probe_mark(backend_index(known, service, backend)?)?)
            } else {
                None
            };
            Some(Target {
                key: (service.name.clone(), backend.name.clone()),
                destination: Destination {
                    backend: backend.name.clone(),
                    address: SocketAddr::new(backend.address, port),
                    mark,
                },
                check,
                initial: knowledge.probed(service, backend),
                downs: knowledge.ages_of_downs(service, backend),
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

/// The address and port by which the data plane knows a backend in its service.
pub(super) fn identity(backend: &Backend) -> (Address, Port) {
    (backend.address.into(), backend.port.map_or(ANY_PORT, u16::to_be_bytes))
}

/// Whether a backend has this address and port.
pub(super) fn has_identity(backend: &Backend, address: Address, port: Port) -> bool {
    identity(backend) == (address, port)
}

/// The index that the data plane knows a backend by.
pub(super) fn backend_index(known: &Index, service: &Service, backend: &Backend) -> Option<u32> {
    let service = *known.services.get(service.name.as_str())?;
    let (address, port) = identity(backend);
    known.backends.get(&(service, address, port)).copied()
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

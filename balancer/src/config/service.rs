//! A service and what its parts ask of one another.

use std::{net::IpAddr, time::Duration};

use super::{
    backend::{self, Setting},
    clients, health,
    model::{
        Affinity, Backend, Forwarding, HealthCheck, Limits, Passive, PrefixLengths, Protocol, Quic, Selection, Service,
        Tracking, WhenDown,
    },
    quic,
    reader::{Distinct, Table, Value},
    report::Read,
    schema,
    source_addresses::{Uses, source_addresses},
    values::{self, LONGEST, MAGLEV_SIZES, SHORTEST},
};
use crate::maglev::TableSize;

/// What every IPv4 link carries whole, 68 bytes (RFC 791, 3.2), without headers of the least length.
const SMALLEST_MSS: u16 = 28;

/// What the largest IPv4 packet carries behind headers of the least length.
const LARGEST_MSS: u16 = 65_495;

const WHOLE_ADDRESS: PrefixLengths = PrefixLengths { v4: 32, v6: 128 };

/// What no two services of a file may share, and what they share.
pub(super) struct Taken {
    names: Distinct<String>,
    endpoints: Distinct<(IpAddr, Protocol, Option<u16>)>,
    pub(super) uses: Uses,
    /// How many more prefixes source lists may have.
    room_for_sources: usize,
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            names: Distinct::default(),
            endpoints: Distinct::default(),
            uses: Uses::default(),
            room_for_sources: clients::MAX_SOURCES,
        }
    }
}

/// Reads one `[[service]]`. `default_sources` are the addresses that full NAT sends from where the service names none, as far as
/// those could be read.
pub(super) fn service(table: Table<'_>, default_sources: Option<&[IpAddr]>, taken: &mut Taken) -> Read<Service> {
    let name = table.required("name", r#"name = "web""#).and_then(|value| {
        let name = value.parsed(values::service_name)?;
        let shown = format!("a service named {name:?}");
        taken
            .names
            .admit(name.clone(), &value, shown, "give each its own name")?;
        Ok(name)
    });
    let address = table
        .required("address", r#"address = "192.0.2.10""#)
        .and_then(|value| {
            let address = value.parsed(values::vip)?;
            taken.uses.add_vip(address, &value)?;
            Ok(address)
        });
    let protocol = table.or("protocol", Protocol::Tcp, |value| value.one_of());
    let ports = table
        .required("ports", "ports = [80, 443], or ports = [] for every port")
        .and_then(|value| ports(value, address, protocol, taken));
    let forwarding = table.or("forwarding", Forwarding::Nat, |value| value.one_of());
    let source_addresses = table.or("source_addresses", Vec::new(), |value| {
        source_addresses(&value, &mut taken.uses)
    });
    if let (Ok(forwarding), Ok(addresses)) = (forwarding, &source_addresses) {
        check_source_addresses(&table, forwarding, addresses);
    }
    let mss = mss(&table, protocol);
    let (affinity, affinity_prefix, quic) = affinity(&table, protocol);
    let affinity_timeout = table.or("affinity_timeout", Duration::from_hours(3), |value| {
        value.duration(SHORTEST..=LONGEST)
    });
    let when_down = table.or("when_down", WhenDown::Reassign, |value| value.one_of());
    let selection = table.or("selection", Selection::Maglev, |value| value.one_of());
    let tracking = table.or("tracking", Tracking::Full, |value| value.one_of());
    let selection = selection.and_then(|selection| check_selection(&table, selection, tracking.ok()));
    let slow_start = table.or("slow_start", Duration::ZERO, |value| {
        value.duration(Duration::ZERO..=LONGEST)
    });
    let panic_threshold = table.or("panic_threshold", 0.0, |value| value.share());
    let wake = table.or("wake", Vec::new(), wake);
    let health = table.optional("health", |value| {
        health::check(value.table(&schema::HEALTH)?, forwarding.ok())
    });
    let passive = passive(&table, forwarding, tracking);
    let limits = limits(&table, protocol, tracking);
    let setting = Setting {
        vip: address.ok(),
        ports: ports.as_deref().ok(),
        forwarding: forwarding.ok(),
        sources: own_or(source_addresses.as_deref().ok(), default_sources),
        quic: quic.ok().filter(|_| matches!(affinity, Ok(Affinity::QuicCid))),
        ignores_server_ids: affinity.is_ok_and(|affinity| affinity != Affinity::QuicCid),
    };
    let backends = table.or("backend", Vec::new(), |value| backend::backends(value, setting));
    let pins = table.or("pin", Vec::new(), |value| {
        clients::pins(value, address.ok(), backends.as_deref().ok())
    });
    let sources = table.optional("sources", |value| {
        clients::sources(
            value.table(&schema::SOURCES)?,
            address.ok(),
            &mut taken.room_for_sources,
        )
    });
    let maglev_size = table.or("maglev_size", TableSize::DEFAULT, |value| maglev_size(value));
    if let Ok(backends) = &backends {
        if let Ok(size) = maglev_size {
            check_slots(&table, size.slots(), backends);
        }
        if let (Ok(ports), Ok(Some(Some(health)))) = (&ports, &health) {
            check_probe_port(&table, ports, health, backends);
        }
        check_weights(&table, backends);
    }
    Ok(Service {
        name: name?,
        address: address?,
        ports: ports?,
        protocol: protocol?,
        forwarding: forwarding?,
        source_addresses: source_addresses?,
        mss: mss?,
        affinity: affinity?,
        affinity_prefix: affinity_prefix?,
        affinity_timeout: affinity_timeout?,
        quic: quic?,
        when_down: when_down?,
        maglev_size: maglev_size?,
        selection: selection?,
        tracking: tracking?,
        slow_start: slow_start?,
        panic_threshold: panic_threshold?,
        wake: wake?,
        health: health?.flatten(),
        passive: passive?,
        limits: limits?,
        backends: backends?,
        pins: pins?,
        sources: sources?,
    })
}

fn ports(value: Value<'_>, address: Read<IpAddr>, protocol: Read<Protocol>, taken: &mut Taken) -> Read<Vec<u16>> {
    let mut distinct = Distinct::default();
    let mut take = |port: Option<u16>, value: &Value<'_>| {
        let (Ok(address), Ok(protocol)) = (address, protocol) else {
            return Ok(());
        };
        let shown = match port {
            Some(port) => format!("{protocol} port {port} of {address}"),
            None => format!("every {protocol} port of {address}"),
        };
        let mend = "give one of the services another address, port or protocol";
        taken.endpoints.admit((address, protocol, port), value, shown, mend)
    };
    let mut ports = value.each("port", |value| {
        let port = value.integer(1..=u16::MAX)?;
        distinct.admit(port, &value, format!("port {port}"), "remove one of the two")?;
        take(Some(port), &value)?;
        Ok(port)
    })?;
    if ports.is_empty() {
        take(None, &value)?;
    }
    ports.sort_unstable();
    Ok(ports)
}

fn check_source_addresses(table: &Table<'_>, forwarding: Forwarding, addresses: &[IpAddr]) {
    if forwarding != Forwarding::FullNat && !addresses.is_empty() {
        table.warn_at(
            "source_addresses",
            "source_addresses has no effect, as only full-nat sends from them; leave it out",
        );
    }
}

/// What decides where a client goes, and the keys that say more of it.
fn affinity(table: &Table<'_>, protocol: Read<Protocol>) -> (Read<Affinity>, Read<PrefixLengths>, Read<Quic>) {
    let affinity = table.or("affinity", Affinity::ClientIpPort, |value| value.one_of());
    let affinity_prefix = table
        .section("affinity_prefix", &schema::AFFINITY_PREFIX)
        .and_then(|table| clients::prefix_lengths(table, WHOLE_ADDRESS));
    if let (Ok(affinity), Ok(prefix)) = (affinity, affinity_prefix) {
        check_affinity_prefix(table, affinity, prefix);
    }
    let quic = table.section("quic", &schema::QUIC).and_then(quic::quic);
    if let (Ok(affinity), Ok(protocol)) = (affinity, protocol) {
        quic::check_affinity(table, affinity, protocol);
    }
    (affinity, affinity_prefix, quic)
}

fn check_affinity_prefix(table: &Table<'_>, affinity: Affinity, prefix: PrefixLengths) {
    if affinity != Affinity::ClientIp && prefix != WHOLE_ADDRESS {
        table.warn_at(
            "affinity_prefix",
            "affinity_prefix has no effect, as this affinity takes the whole address; leave it out",
        );
    }
}

fn check_selection(table: &Table<'_>, selection: Selection, tracking: Option<Tracking>) -> Read<Selection> {
    match (selection, tracking) {
        (Selection::LeastFlows, Some(Tracking::Changes | Tracking::None)) => Err(table.refuse_at(
            "selection",
            "selection = \"least-flows\" counts the flows that are remembered, which takes tracking = \"full\"",
        )),
        _ => Ok(selection),
    }
}

fn passive(table: &Table<'_>, forwarding: Read<Forwarding>, tracking: Read<Tracking>) -> Read<Option<Passive>> {
    let passive = table.optional("passive", |value| health::passive(value.table(&schema::PASSIVE)?))?;
    let (Some(_), Ok(forwarding), Ok(tracking)) = (passive, forwarding, tracking) else {
        return Ok(passive);
    };
    if !forwarding.replies_return() {
        table.refuse_at(
            "passive",
            "passive looks at what backends answer, which does not pass by here with this forwarding; use [service.health]",
        );
    } else if tracking != Tracking::Full {
        table.refuse_at(
            "passive",
            "passive follows every connection from its first packet, which takes tracking = \"full\"",
        );
    }
    Ok(passive)
}

fn limits(table: &Table<'_>, protocol: Read<Protocol>, tracking: Read<Tracking>) -> Read<Option<Limits>> {
    let limits = table.optional("limits", |value| clients::limits(value.table(&schema::LIMITS)?))?;
    let forgets = matches!(tracking, Ok(Tracking::Changes | Tracking::None));
    if limits.is_some() && matches!(protocol, Ok(Protocol::Udp)) && forgets {
        table.refuse_at(
            "limits",
            "limits count the first packets of flows, which UDP does not show unless all flows are remembered; use tracking = \"full\"",
        );
    }
    Ok(limits)
}

fn wake(value: Value<'_>) -> Read<Vec<String>> {
    let command = value.each("a word of wake", |word| Ok(word.string()?.to_owned()))?;
    if command.first().is_some_and(String::is_empty) {
        return Err(value.refuse("wake begins with an empty word; begin it with the path of a program"));
    }
    Ok(command)
}

fn maglev_size(value: Value<'_>) -> Read<TableSize> {
    let (smallest, largest) = MAGLEV_SIZES;
    let size = value.integer(smallest..=largest)?;
    if let Some(size) = TableSize::new(size) {
        return Ok(size);
    }
    let (below, above) = (values::maglev_size_to(size), values::maglev_size_from(size));
    Err(value.refuse(format!("maglev_size = {size} is not a prime; use {below} or {above}")))
}

fn mss(table: &Table<'_>, protocol: Read<Protocol>) -> Read<Option<u16>> {
    let mss = table.optional("mss", |value| value.integer(SMALLEST_MSS..=LARGEST_MSS));
    if let (Ok(Some(_)), Ok(Protocol::Udp)) = (mss, protocol) {
        let message = "mss is a matter of TCP, and the service is one of UDP; remove it";
        table.refuse_at("mss", message);
    }
    mss
}

/// The service's own source addresses if it has any; `None` where they could not be read.
fn own_or<'a>(own: Option<&'a [IpAddr]>, default: Option<&'a [IpAddr]>) -> Option<&'a [IpAddr]> {
    own.and_then(|own| if own.is_empty() { default } else { Some(own) })
}

/// Below a hundred slots per backend, shares differ by more than about one percent (Maglev, NSDI 2016, section 3.4).
fn check_slots(table: &Table<'_>, size: u32, backends: &[Backend]) {
    let count = u32::try_from(backends.len()).unwrap_or(u32::MAX);
    let even = values::maglev_size_from(count.saturating_mul(100));
    if size < count {
        table.refuse_at(
            "maglev_size",
            format!("maglev_size = {size} is less than the number of backends, {count}; use {even}"),
        );
    } else if count > 1 && size < even {
        table.warn_at(
            "maglev_size",
            format!("maglev_size = {size} is less than 100 times the {count} backends, so their shares are uneven; use {even}"),
        );
    }
}

fn check_probe_port(table: &Table<'_>, ports: &[u16], health: &HealthCheck, backends: &[Backend]) {
    let portless = backends.iter().find(|backend| backend.port.is_none());
    if let (true, None, Some(backend)) = (ports.is_empty(), health.port, portless) {
        let name = &backend.name;
        table.refuse_at(
            "health",
            format!("no port to check backend {name:?} at, as service and backend have none; add port = 80, or whichever answers"),
        );
    }
}

fn check_weights(table: &Table<'_>, backends: &[Backend]) {
    if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        table.warn_at(
            "backend",
            "every backend of the service has weight 0, so new flows are refused; give one a weight",
        );
    }
}

//! The file as a whole and the tables that it has once.

use std::{net::Ipv4Addr, path::PathBuf};

use balancer_common::abi::{
    TablePlace,
    arena::{PAGE, TABLE_PAGES},
};

use super::{
    health,
    model::{Config, Control, DEFAULT_PIN_PATH, Dataplane, Metrics, Service, Tracking, TunnelSource, XdpMode},
    reader::{Distinct, Table, Value},
    report::Read,
    schema,
    service::{self, Taken},
    source_addresses::{Uses, source_addresses},
    values,
};

/// The version of the format that this program reads.
pub(super) const VERSION: u32 = 1;

const MAX_FLOWS: u32 = 1 << 27;
const MAX_SERVICES: u32 = 1 << 16;
const MAX_BACKENDS: u32 = 1 << 20;

/// Behind the well-known ports (RFC 6335, 6), before those that Linux by default gives to the host's own connections.
const SOURCE_PORTS: (u16, u16) = (1_024, 32_767);

/// Reads a whole file.
pub(super) fn config(file: Table<'_>) -> Read<Config> {
    let version = file.required("version", &format!("version = {VERSION}"));
    if let Ok(version) = version {
        // Whatever else another version's file holds would only be misread.
        check_version(&version)?;
    }
    file.check_keys();
    let mut taken = Taken::default();
    let section = file.section("dataplane", &schema::DATAPLANE);
    let dataplane = section.and_then(|section| dataplane(section, &mut taken.uses));
    let control = file.section("control", &schema::CONTROL).and_then(control);
    let metrics = file.section("metrics", &schema::METRICS).and_then(metrics);
    let health = file.section("health", &schema::PROBING).and_then(health::probing);
    let sources = dataplane
        .as_ref()
        .ok()
        .map(|dataplane| dataplane.source_addresses.as_slice());
    let services = file.or("service", Vec::new(), |value| {
        value.tables(&schema::SERVICE, |table| service::service(table, sources, &mut taken))
    });
    version?;
    if let (Ok(section), Ok(dataplane), Ok(services)) = (section, &dataplane, &services) {
        check_room(section, dataplane, services);
        check_tables(file, services);
    }
    Ok(Config {
        dataplane: dataplane?,
        control: control?,
        metrics: metrics?,
        health: health?,
        services: services?,
    })
}

fn check_room(table: Table<'_>, dataplane: &Dataplane, services: &[Service]) {
    let backends = services.iter().map(|service| service.backends.len()).sum();
    for (key, room, needed) in [
        ("max_services", dataplane.max_services, services.len()),
        ("max_backends", dataplane.max_backends, backends),
    ] {
        if needed > room as usize {
            table.refuse_at(
                key,
                format!("{key} = {room} has no room for the {needed} in this file; raise it"),
            );
        }
    }
}

/// All Maglev tables lie in one memory, and a new one is filled before it takes the place of another.
fn check_tables(file: Table<'_>, services: &[Service]) {
    let pages = services.iter().map(|service| {
        let pages = u64::from(TablePlace::pages(service.maglev_size.slots()));
        // Of slots that have changed hands, the owners before that are kept.
        if service.tracking == Tracking::Changes {
            2 * pages
        } else {
            pages
        }
    });
    let needed = pages.clone().sum::<u64>() + pages.max().unwrap_or(0);
    let room = u64::from(TABLE_PAGES.end - TABLE_PAGES.start);
    if needed > room {
        let [needed, room] = [needed, room].map(|pages| (pages * u64::from(PAGE)) >> 20);
        file.refuse(format!(
            "the Maglev tables of all services take up to {needed} MiB, and there is room for {room}; lower maglev_size where \
             services have few backends"
        ));
    }
}

fn check_version(value: &Value<'_>) -> Read<()> {
    let version = value.written_integer()?.to_string();
    if version == VERSION.to_string() {
        return Ok(());
    }
    Err(value.refuse(format!(
        "version = {version} is a format that this program does not read; rewrite the file for version = {VERSION}, or use another program"
    )))
}

fn dataplane(table: Table<'_>, uses: &mut Uses) -> Read<Dataplane> {
    let interfaces = table
        .required("interfaces", r#"interfaces = ["eth0"]"#)
        .and_then(interfaces);
    let xdp_mode = table.or("xdp_mode", XdpMode::Auto, |value| value.one_of());
    let pin_path = table.or("pin_path", PathBuf::from(DEFAULT_PIN_PATH), |value| {
        value.parsed(values::absolute_path)
    });
    let max_flows = table.or("max_flows", 1 << 20, |value| value.integer(1..=MAX_FLOWS));
    let max_clients = table.or("max_clients", 1 << 18, |value| value.integer(1..=MAX_FLOWS));
    let max_services = table.or("max_services", 4096, |value| value.integer(1..=MAX_SERVICES));
    let max_backends = table.or("max_backends", 16384, |value| value.integer(1..=MAX_BACKENDS));
    let tunnel_source = table
        .section("tunnel_source", &schema::TUNNEL_SOURCE)
        .and_then(tunnel_source);
    let source_addresses = table.or("source_addresses", Vec::new(), |value| source_addresses(&value, uses));
    let source_ports = table.or("source_ports", SOURCE_PORTS, |value| value.parsed(values::ports));
    let max_mappings = table.or("max_mappings", 1 << 18, |value| value.integer(1..=MAX_FLOWS));
    Ok(Dataplane {
        interfaces: interfaces?,
        xdp_mode: xdp_mode?,
        pin_path: pin_path?,
        max_flows: max_flows?,
        max_clients: max_clients?,
        max_services: max_services?,
        max_backends: max_backends?,
        tunnel_source: tunnel_source?,
        source_addresses: source_addresses?,
        source_ports: source_ports?,
        max_mappings: max_mappings?,
    })
}

fn tunnel_source(table: Table<'_>) -> Read<TunnelSource> {
    let v4 = table.optional("v4", |value| value.parsed(values::tunnel_source_v4));
    let v6 = table.optional("v6", |value| value.parsed(values::tunnel_source_v6));
    Ok(TunnelSource { v4: v4?, v6: v6? })
}

fn interfaces(value: Value<'_>) -> Read<Vec<String>> {
    let mut distinct = Distinct::default();
    let interfaces = value.each("interface", |value| {
        let name = value.parsed(values::interface)?;
        distinct.admit(
            name.clone(),
            &value,
            format!("interface {name:?}"),
            "remove one of the two",
        )?;
        Ok(name)
    })?;
    if interfaces.is_empty() {
        return Err(value.refuse("interfaces is empty; name at least one interface like [\"eth0\"]"));
    }
    Ok(interfaces)
}

fn control(table: Table<'_>) -> Read<Control> {
    let socket = table.or("socket", PathBuf::from("/run/balancer/balancer.sock"), |value| {
        value.parsed(values::socket_path)
    });
    let state = table.or("state", PathBuf::from("/var/lib/balancer"), |value| {
        value.parsed(values::absolute_path)
    });
    Ok(Control {
        socket: socket?,
        state: state?,
    })
}

fn metrics(table: Table<'_>) -> Read<Metrics> {
    let default = (Ipv4Addr::LOCALHOST, 9310).into();
    let listen = table.or("listen", default, |value| value.parsed(values::listen_address));
    Ok(Metrics { listen: listen? })
}

//! Writes a [`Config`] as a file that reads back as the same [`Config`].
//!
//! Every structure is taken apart whole, so that a field added to the model cannot be forgotten here.

mod health;

use std::{path::Path, time::Duration};

use serde::Serialize;
use toml::ser::ValueSerializer;

use super::{
    model::{
        Affinity, Backend, Config, Control, Dataplane, Limits, Metrics, Passive, Pin, PinTarget, Probing, Quic,
        QuicLayout, Service, Sources, TunnelSource, address_text,
    },
    schema::{self, Shape},
    sections::VERSION,
};

/// The configuration as TOML, every default written out.
pub fn export(config: &Config) -> String {
    let Config {
        dataplane,
        control: Control { socket, state },
        metrics: Metrics { listen },
        health: Probing { max_concurrent },
        services,
    } = config;
    let mut out = Writer::default();
    out.key("version", VERSION);
    write_dataplane(&mut out, dataplane);
    out.table(&schema::CONTROL);
    out.key("socket", path(socket));
    out.key("state", path(state));
    out.table(&schema::METRICS);
    out.key("listen", listen);
    out.table(&schema::PROBING);
    out.key("max_concurrent", max_concurrent);
    for service in services {
        write_service(&mut out, service);
    }
    out.text
}

/// A service as TOML, every default written out.
pub fn export_service(service: &Service) -> String {
    let mut out = Writer::default();
    write_service(&mut out, service);
    out.text.trim_start().to_owned()
}

fn write_dataplane(out: &mut Writer, dataplane: &Dataplane) {
    let Dataplane {
        interfaces,
        xdp_mode,
        pin_path,
        max_flows,
        max_services,
        max_clients,
        max_backends,
        tunnel_source,
        source_addresses,
        source_ports: (first_port, last_port),
        max_mappings,
    } = dataplane;
    out.table(&schema::DATAPLANE);
    out.key("interfaces", interfaces);
    out.key("xdp_mode", xdp_mode);
    out.key("pin_path", path(pin_path));
    out.key("max_flows", max_flows);
    out.key("max_clients", max_clients);
    out.key("max_services", max_services);
    out.key("max_backends", max_backends);
    // Without an address it says nothing.
    if *tunnel_source != TunnelSource::default() {
        out.key("tunnel_source", tunnel_source);
    }
    out.key("source_addresses", source_addresses);
    out.key("source_ports", format!("{first_port}-{last_port}"));
    out.key("max_mappings", max_mappings);
}

fn write_service(out: &mut Writer, service: &Service) {
    let Service {
        name,
        address,
        ports,
        protocol,
        forwarding,
        source_addresses,
        mss,
        affinity,
        affinity_prefix,
        affinity_timeout,
        quic,
        when_down,
        maglev_size,
        selection,
        tracking,
        slow_start,
        panic_threshold,
        wake,
        health,
        passive,
        limits,
        backends,
        pins,
        sources,
    } = service;
    out.table(&schema::SERVICE);
    out.key("name", name);
    out.key("address", address);
    out.key("ports", ports);
    out.key("protocol", protocol);
    out.key("forwarding", forwarding);
    out.key("source_addresses", source_addresses);
    if let Some(mss) = mss {
        out.key("mss", mss);
    }
    out.key("affinity", affinity);
    out.key("affinity_prefix", affinity_prefix);
    out.key("affinity_timeout", duration(*affinity_timeout));
    out.key("when_down", when_down);
    out.key("maglev_size", maglev_size.slots());
    out.key("selection", selection);
    out.key("tracking", tracking);
    out.key("slow_start", duration(*slow_start));
    out.key("panic_threshold", panic_threshold);
    out.key("wake", wake);
    if let Some(health) = health {
        health::write(out, health);
    }
    if *affinity == Affinity::QuicCid {
        let Quic {
            layout,
            server_id_length,
        } = quic;
        out.table(&schema::QUIC);
        out.key("layout", layout);
        if *layout == QuicLayout::QuicLb {
            out.key("server_id_length", server_id_length);
        }
    }
    if let Some(Passive {
        max_fails,
        fail_timeout,
        max_ejected,
    }) = passive
    {
        out.table(&schema::PASSIVE);
        out.key("max_fails", max_fails);
        out.key("fail_timeout", duration(*fail_timeout));
        out.key("max_ejected", max_ejected);
    }
    if let Some(limits) = limits {
        write_limits(out, limits);
    }
    for backend in backends {
        write_backend(out, backend);
    }
    for Pin { prefix, target } in pins {
        out.table(&schema::PIN);
        out.key("prefix", prefix);
        match target {
            PinTarget::Key(key) => out.key("key", key),
            PinTarget::Backend(name) => out.key("backend", name),
        }
    }
    if let Some(sources) = sources {
        let Sources { allow, deny } = &**sources;
        out.table(&schema::SOURCES);
        out.key("allow", allow);
        out.key("deny", deny);
    }
}

fn write_limits(out: &mut Writer, limits: &Limits) {
    let Limits {
        new_flows_per_client,
        new_flows,
        client_prefix,
    } = limits;
    out.table(&schema::LIMITS);
    if let Some(rate) = new_flows_per_client {
        out.key("new_flows_per_client", rate);
    }
    if let Some(rate) = new_flows {
        out.key("new_flows", rate);
    }
    out.key("client_prefix", client_prefix);
}

fn write_backend(out: &mut Writer, backend: &Backend) {
    let Backend {
        name,
        address,
        port,
        weight,
        backup,
        admin,
        server_id,
    } = backend;
    out.table(&schema::BACKEND);
    out.key("name", name);
    out.key("address", address_text(*address, *port));
    out.key("weight", weight);
    out.key("backup", backup);
    out.key("admin", admin);
    if let Some(server_id) = server_id {
        out.key("server_id", server_id.to_string());
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A TOML file in the making.
#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    /// Begins a table.
    fn table(&mut self, shape: &Shape) {
        self.text.push('\n');
        self.text.push_str(&shape.title());
        self.text.push('\n');
    }

    /// Adds a key to the table begun last.
    fn key(&mut self, key: &str, value: impl Serialize) {
        self.text.push_str(key);
        self.text.push_str(" = ");
        value
            .serialize(ValueSerializer::new(&mut self.text))
            .expect("strings, numbers up to 64 bits and structures of these all have a TOML form");
        self.text.push('\n');
    }
}

//! Results as people read them.

mod events;
mod flows;
mod plan;

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

pub(super) use events::{event, events};
pub(super) use flows::{flow_count, flows};
pub(super) use plan::plan;

use crate::{
    control::protocol::{BackendView, Lookup, LookupReason, ServiceDetail, ServiceView, Status},
    dataplane::Figures,
};

/// `status`
pub(super) fn status(status: &Status) -> String {
    let mut table = plain();
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    let interfaces: Vec<_> = status
        .dataplane
        .interfaces
        .iter()
        .map(|interface| {
            format!(
                "{} ({:?}, program {})",
                interface.name, interface.mode, interface.program_id
            )
            .to_lowercase()
        })
        .collect();
    let backends = status.backends;
    table
        .add_row(["version".to_owned(), status.version.clone()])
        .add_row(["process".to_owned(), format!("{}, up {uptime}", status.pid)])
        .add_row(["interfaces".to_owned(), list_or_none(&interfaces)])
        .add_row(["generation".to_owned(), status.dataplane.generation.to_string()])
        .add_row([
            "flows".to_owned(),
            format!("{} of {}", status.dataplane.flows, status.dataplane.max_flows),
        ])
        .add_row(["services".to_owned(), status.services.to_string()])
        .add_row([
            "backends".to_owned(),
            format!(
                "{}: {} up, {} down, {} draining, {} hot",
                backends.total, backends.up, backends.down, backends.draining, backends.hot
            ),
        ]);
    table.to_string()
}

/// `service list`
pub(super) fn services(services: &[ServiceView]) -> String {
    let mut table = plain();
    table.set_header([
        "SERVICE",
        "ADDRESS",
        "PORTS",
        "PROTOCOL",
        "FORWARDING",
        "AFFINITY",
        "BACKENDS UP",
        "NEW FLOWS",
        "PACKETS",
        "BYTES",
    ]);
    for service in services {
        let ports: Vec<_> = service.ports.iter().map(u16::to_string).collect();
        table.add_row([
            service.name.clone(),
            service.address.to_string(),
            if ports.is_empty() {
                "any".to_owned()
            } else {
                ports.join(",")
            },
            keyword(&service.protocol),
            keyword(&service.forwarding),
            keyword(&service.affinity),
            format!("{}/{}", service.backends_up, service.backends),
            service.new_flows.to_string(),
            service.packets.to_string(),
            service.bytes.to_string(),
        ]);
    }
    align_right(&mut table, 6);
    table.to_string()
}

/// `service show`
pub(super) fn service(detail: &ServiceDetail) -> String {
    let ServiceDetail {
        service,
        backends: list,
        configuration,
    } = detail;
    format!(
        "{}\n\n{}\n\n{}",
        services(std::slice::from_ref(service)),
        backends(list),
        configuration.trim_end()
    )
}

/// `backend list`
pub(super) fn backends(backends: &[BackendView]) -> String {
    let mut table = plain();
    table.set_header([
        "SERVICE",
        "BACKEND",
        "ADDRESS",
        "ADMIN",
        "HEALTH",
        "WEIGHT",
        "SHARE",
        "FLOWS",
        "NEW FLOWS",
        "PACKETS",
        "BYTES",
    ]);
    for backend in backends {
        table.add_row([
            backend.service.clone(),
            backend.name.clone(),
            backend.address.clone(),
            keyword(&backend.admin),
            health(backend),
            backend.weight.to_string(),
            format!("{:.1} %", backend.share * 100.0),
            if backend.hot {
                format!("{} (hot)", backend.flows)
            } else {
                backend.flows.to_string()
            },
            backend.new_flows.to_string(),
            backend.packets.to_string(),
            backend.bytes.to_string(),
        ]);
    }
    align_right(&mut table, 5);
    table.to_string()
}

fn health(backend: &BackendView) -> String {
    let health = keyword(&backend.health);
    match &backend.unreachable {
        Some(reason) => format!("{health} ({reason})"),
        None if backend.ejected => format!("{health} (ejected)"),
        None => health,
    }
}

/// `programs`
pub(super) fn programs(figures: &[Figures]) -> String {
    let mut table = plain();
    table.set_header(["PROGRAM", "VERIFIED", "INSTRUCTIONS", "MACHINE CODE", "STACK"]);
    for figures in figures {
        table.add_row([
            figures.program.clone(),
            format!("{} of 1000000", figures.verified),
            figures.instructions.to_string(),
            format!("{} bytes", figures.machine_code),
            format!("{} of 512 bytes", figures.stack),
        ]);
    }
    table.to_string()
}

/// `lookup`
pub(super) fn lookup(lookup: &Lookup) -> String {
    let Lookup {
        service,
        client,
        slot,
        slots,
        ..
    } = lookup;
    let backend = match (&lookup.backend, &lookup.address) {
        (Some(name), Some(address)) if name != address => format!("{name} ({address})"),
        (Some(name), _) => name.clone(),
        (None, _) => "no backend".to_owned(),
    };
    let why = match lookup.reason {
        LookupReason::Flow => "this flow is remembered".to_owned(),
        LookupReason::Affinity => "a new flow of a remembered client".to_owned(),
        LookupReason::Pin => "a new flow of a pinned client".to_owned(),
        LookupReason::Maglev => format!("a new flow: slot {slot} of {slots} in the Maglev table"),
        LookupReason::ConnectionId => "the connection ID names it".to_owned(),
        LookupReason::Denied => "the service's source lists do not admit the client".to_owned(),
        LookupReason::Limited => "as many new flows of the client or the service have begun as may for now".to_owned(),
        LookupReason::NoBackend => "no backend of the service may take it".to_owned(),
    };
    format!("{client} to {service}: {backend}\nbecause: {why}")
}

/// Names in one line.
pub(super) fn list_or_none(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// A value as its keyword in the configuration and in JSON.
fn keyword(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => format!("{other:?}"),
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn align_right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

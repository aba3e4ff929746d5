//! The backends of a service.

use std::net::IpAddr;

use super::{
    model::{Admin, Backend, Forwarding, Quic, address_text},
    quic,
    reader::{Distinct, Table, Value},
    report::Read,
    schema, values,
};

/// The weight of a backend of which the file says none.
pub const DEFAULT_WEIGHT: u32 = 100;
const MAX_WEIGHT: u32 = 65_535;

type Endpoint = (IpAddr, Option<u16>);

/// What backends must fit, as far as it could be read.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) vip: Option<IpAddr>,
    pub(super) ports: Option<&'a [u16]>,
    pub(super) forwarding: Option<Forwarding>,
    /// What full NAT sends from.
    pub(super) sources: Option<&'a [IpAddr]>,
    /// What QUIC connection IDs are like, if they are looked at.
    pub(super) quic: Option<Quic>,
    /// Whether QUIC connection IDs are known not to be looked at.
    pub(super) ignores_server_ids: bool,
}

/// What no two backends of a service may share.
#[derive(Default)]
struct Taken {
    names: Distinct<String>,
    endpoints: Distinct<Endpoint>,
    server_ids: Distinct<u64>,
}

/// Reads the `[[service.backend]]` tables of one service.
pub(super) fn backends(value: Value<'_>, setting: Setting<'_>) -> Read<Vec<Backend>> {
    let mut taken = Taken::default();
    let mut warned = false;
    value.tables(&schema::BACKEND, |table| {
        let backend = backend(table, setting, &mut taken)?;
        if !warned && setting.merges_ports(&backend) {
            warned = true;
            table.warn_at(
                "address",
                "all ports of the service reach the one port of this backend; leave it out to keep the client's",
            );
        }
        Ok(backend)
    })
}

fn backend(table: Table<'_>, setting: Setting<'_>, taken: &mut Taken) -> Read<Backend> {
    let endpoint = table
        .required("address", r#"address = "10.0.0.11:80""#)
        .and_then(|value| endpoint(&value, setting, taken));
    let name = table.optional("name", |value| name(&value, endpoint, taken));
    let weight = table.or("weight", DEFAULT_WEIGHT, |value| value.integer(0..=MAX_WEIGHT));
    let backup = table.or("backup", false, |value| value.boolean());
    let admin = table.or("admin", Admin::Active, |value| value.one_of());
    let server_id = table.optional("server_id", |value| quic::server_id(&value, setting.quic));
    let (address, port) = endpoint?;
    let backend = Backend {
        name: name?.unwrap_or_else(|| address_text(address, port)),
        address,
        port,
        weight: weight?,
        backup: backup?,
        admin: admin?,
        server_id: server_id?,
    };
    if let Some(quic) = setting.quic {
        let key = if table.has("server_id") { "server_id" } else { "address" };
        let value = table.required(key, "")?;
        quic::admit(&mut taken.server_ids, &value, quic, &backend)?;
    } else if setting.ignores_server_ids && backend.server_id.is_some() {
        table.warn_at(
            "server_id",
            "server_id has no effect without affinity = \"quic-cid\"; leave it out",
        );
    }
    Ok(backend)
}

fn endpoint(value: &Value<'_>, setting: Setting<'_>, taken: &mut Taken) -> Read<Endpoint> {
    let (address, port) = value.parsed(values::backend_address)?;
    if let Some(vip) = setting.vip {
        if address == vip {
            return Err(value.refuse("a backend cannot have its service's own address; use the backend's"));
        }
        let one_family = matches!(setting.forwarding, Some(Forwarding::Nat | Forwarding::Dsr));
        if one_family && address.is_ipv4() != vip.is_ipv4() {
            let (backend, vip) = (values::family(address), values::family(vip));
            return Err(value.refuse(format!(
                "an {backend} backend cannot serve an {vip} VIP with this forwarding; use an {vip} address"
            )));
        }
    }
    if let Some(port) = setting.port_in_vain(port) {
        return Err(value.refuse(format!(
            "port {port} cannot be reached, as with this forwarding packets keep the client's destination port; leave it out"
        )));
    }
    if let (Some(Forwarding::FullNat), Some(sources)) = (setting.forwarding, setting.sources)
        && sources.iter().all(|source| source.is_ipv4() != address.is_ipv4())
    {
        let family = values::family(address);
        return Err(value.refuse(format!(
            "full-nat has no {family} address to send to an {family} backend from; add one to source_addresses of the service or of [dataplane]"
        )));
    }
    let shown = format!("backend {}", address_text(address, port));
    taken
        .endpoints
        .admit((address, port), value, shown, "remove one of the two")?;
    Ok((address, port))
}

fn name(value: &Value<'_>, endpoint: Read<Endpoint>, taken: &mut Taken) -> Read<String> {
    let name = value.parsed(values::backend_name)?;
    // Commands take a backend's name or its address, so a name must not be the address of another.
    if let (Ok(named), Ok(own)) = (values::backend_address(&name), endpoint)
        && named != own
    {
        return Err(value.refuse(format!(
            "name = {name:?} is an address that is not the backend's own; use another name, or leave it out"
        )));
    }
    let shown = format!("a backend named {name:?}");
    taken
        .names
        .admit(name.clone(), value, shown, "give each its own name")?;
    Ok(name)
}

impl Setting<'_> {
    /// The port, if packets can only arrive at another one.
    fn port_in_vain(&self, port: Option<u16>) -> Option<u16> {
        let keeps_ports = self.forwarding.is_some_and(|forwarding| !forwarding.translates_ports());
        port.filter(|&port| keeps_ports && self.ports.is_some_and(|ports| ports != [port]))
    }

    /// Whether clients of several ports arrive at one port of the backend.
    fn merges_ports(&self, backend: &Backend) -> bool {
        let many = self.ports.is_some_and(|ports| ports.len() != 1);
        many && backend.port.is_some() && self.forwarding == Some(Forwarding::Nat)
    }
}

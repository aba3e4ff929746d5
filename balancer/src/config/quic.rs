//! What a service makes of QUIC connection IDs.

use balancer_common::quic::MAX_SERVER_ID;

use super::{
    model::{Affinity, Backend, Protocol, Quic, QuicLayout, ServerId},
    reader::{Distinct, Table, Value},
    report::Read,
    values,
};

/// Reads `[service.quic]`.
pub(super) fn quic(table: Table<'_>) -> Read<Quic> {
    let layout = table.or("layout", QuicLayout::QuicLb, |value| value.one_of());
    let length = table.optional("server_id_length", |value| value.integer(1..=MAX_SERVER_ID));
    if let (Ok(QuicLayout::Katran), Ok(Some(_))) = (layout, length) {
        table.warn_at(
            "server_id_length",
            "server_id_length has no effect, as connection IDs of this layout say how long it is; leave it out",
        );
    }
    Ok(Quic {
        layout: layout?,
        server_id_length: length?.unwrap_or(Quic::default().server_id_length),
    })
}

/// Whether the affinity suits the service.
pub(super) fn check_affinity(table: &Table<'_>, affinity: Affinity, protocol: Protocol) {
    if affinity == Affinity::QuicCid && protocol != Protocol::Udp {
        table.refuse_at(
            "affinity",
            "affinity = \"quic-cid\" looks into QUIC packets, which travel over UDP; add protocol = \"udp\"",
        );
    }
    if affinity != Affinity::QuicCid && table.has("quic") {
        table.warn_at(
            "quic",
            "[service.quic] has no effect without affinity = \"quic-cid\"; leave it out",
        );
    }
}

/// Reads what the servers of a service with connection IDs like these call themselves.
pub(super) fn server_id(value: &Value<'_>, quic: Option<Quic>) -> Read<ServerId> {
    let id = value.parsed(values::server_id)?;
    let Some(quic) = quic else {
        return Ok(id);
    };
    let (bytes, shown) = (id.bytes().len(), id.to_string());
    match quic.layout {
        QuicLayout::QuicLb if bytes != usize::from(quic.server_id_length) => Err(value.refuse(format!(
            "server_id = {shown:?} has {bytes} bytes, but server_id_length of the service is {}; make them the same",
            quic.server_id_length
        ))),
        QuicLayout::Katran if bytes > 4 => Err(value.refuse(format!(
            "server_id = {shown:?} has {bytes} bytes, but connection IDs of this layout have room for 4; use a shorter one"
        ))),
        _ => Ok(id),
    }
}

/// Sees to it that no two backends of a service would be taken for each other. `value` is what says the backend's ID, or its
/// address if nothing does.
pub(super) fn admit(taken: &mut Distinct<u64>, value: &Value<'_>, quic: Quic, backend: &Backend) -> Read<()> {
    let id = quic.number_of(backend);
    let shown = format!("a backend with the QUIC server ID {id:#x}");
    taken.admit(id, value, shown, "give each a server_id of its own")
}

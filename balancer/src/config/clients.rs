//! What a service makes of single clients: limits, pins and source lists.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    model::{Backend, Limits, Pin, PinTarget, PrefixLengths, Rate, Sources},
    reader::{Distinct, Table, Value},
    report::Read,
    schema, values,
};

/// Most flows that a limit lets begin in a second: the rate is kept as nanoseconds for each.
const MAX_RATE: u32 = 10_000_000;

/// A burst has to hold what comes in between two ticks of the kernel's clock, which come a hundred times a second at least.
const TICKS_PER_SECOND: u32 = 100;

/// What most networks give to one customer at least (RFC 6177 for IPv6).
const ONE_CLIENT: PrefixLengths = PrefixLengths { v4: 32, v6: 64 };

/// Reads `[service.limits]`.
pub(super) fn limits(table: Table<'_>) -> Read<Limits> {
    let per_client = table.optional("new_flows_per_client", |value| {
        rate_limit(value.table(&schema::NEW_FLOWS_PER_CLIENT)?)
    });
    let in_all = table.optional("new_flows", |value| rate_limit(value.table(&schema::NEW_FLOWS)?));
    let prefix = table
        .section("client_prefix", &schema::LIMIT_PREFIX)
        .and_then(|table| prefix_lengths(table, ONE_CLIENT));
    match (per_client, in_all) {
        (Ok(None), Ok(None)) => {
            return Err(table.refuse(
                "[service.limits] lacks \"new_flows_per_client\" or \"new_flows\"; add new_flows_per_client = { rate = 100, burst = 200 }",
            ));
        }
        (Ok(None), _) if prefix.is_ok_and(|prefix| prefix != ONE_CLIENT) => {
            table.warn_at(
                "client_prefix",
                "client_prefix has no effect without new_flows_per_client; leave it out",
            );
        }
        _ => {}
    }
    Ok(Limits {
        new_flows_per_client: per_client?,
        new_flows: in_all?,
        client_prefix: prefix?,
    })
}

fn rate_limit(table: Table<'_>) -> Read<Rate> {
    let rate = table.required("rate", "rate = 100");
    let burst = table.required("burst", "burst = 200");
    let rate = rate.and_then(|value| value.integer(1..=MAX_RATE));
    let burst = burst.and_then(|value| value.integer(1..=u32::MAX));
    if let (Ok(rate), Ok(burst)) = (rate, burst) {
        let least = rate.div_ceil(TICKS_PER_SECOND);
        if burst < least {
            return Err(table.refuse_at(
                "burst",
                format!("burst = {burst} is less than what comes in between two ticks of the clock at rate = {rate}; use {least} or more"),
            ));
        }
    }
    Ok(Rate {
        rate: rate?,
        burst: burst?,
    })
}

/// Reads a table of how much of an address counts.
pub(super) fn prefix_lengths(table: Table<'_>, default: PrefixLengths) -> Read<PrefixLengths> {
    let v4 = table.or("v4", default.v4, |value| value.integer(0..=32));
    let v6 = table.or("v6", default.v6, |value| value.integer(0..=128));
    Ok(PrefixLengths { v4: v4?, v6: v6? })
}

/// Reads the `[[service.pin]]` tables of one service with the given VIP and backends, as far as those could be read.
pub(super) fn pins(value: Value<'_>, vip: Option<IpAddr>, backends: Option<&[Backend]>) -> Read<Vec<Pin>> {
    let mut distinct = Distinct::default();
    value.tables(&schema::PIN, |table| {
        let prefix = table
            .required("prefix", r#"prefix = "10.1.0.0/16""#)
            .and_then(|value| prefix(&value, vip, &mut distinct));
        let target = target(table, backends);
        Ok(Pin {
            prefix: prefix?,
            target: target?,
        })
    })
}

fn target(table: Table<'_>, backends: Option<&[Backend]>) -> Read<PinTarget> {
    let key = table.optional("key", |value| match value.string()? {
        "" => Err(value.refuse("key is empty; name what the clients share, like \"tenant-a\"")),
        key => Ok(key.to_owned()),
    });
    let backend = table.optional("backend", |value| {
        let name = value.string()?;
        if backends.is_some_and(|backends| backends.iter().all(|backend| backend.name != name)) {
            return Err(value.refuse(format!(
                "the service has no backend named {name:?}; name one that it has, or add it"
            )));
        }
        Ok(name.to_owned())
    });
    match (key?, backend?) {
        (Some(key), None) => Ok(PinTarget::Key(key)),
        (None, Some(backend)) => Ok(PinTarget::Backend(backend)),
        (Some(_), Some(_)) => Err(table.refuse_at("backend", "a pin has either key or backend; remove one of them")),
        (None, None) => Err(table.refuse(r#"[[service.pin]] lacks "key" or "backend"; add key = "tenant-a""#)),
    }
}

/// Prefixes in the source lists of all services that there is room for.
pub(super) const MAX_SOURCES: usize = 500_000;

/// Reads `[service.sources]` of a service with the given VIP. `room` is how many more prefixes there may be.
pub(super) fn sources(table: Table<'_>, vip: Option<IpAddr>, room: &mut usize) -> Read<Arc<Sources>> {
    // One prefix in both lists would be allowed and denied with equal right.
    let mut distinct = Distinct::default();
    let mut list = |key| {
        table.or(key, Vec::new(), |value| {
            value.each("prefix", |value| prefix(&value, vip, &mut distinct))
        })
    };
    let allow = list("allow");
    let deny = list("deny");
    let sources = Sources {
        allow: allow?,
        deny: deny?,
    };
    if sources.is_empty() {
        table.warn_at(
            "allow",
            "[service.sources] names nobody, so it admits everybody; name prefixes under allow or deny, or leave it out",
        );
    }
    let left = room.checked_sub(sources.len());
    *room = left.ok_or_else(|| {
        table.refuse(format!(
            "with this there are more than {MAX_SOURCES} prefixes in source lists; name larger prefixes, or share lists among fewer \
             services"
        ))
    })?;
    Ok(Arc::new(sources))
}

fn prefix(value: &Value<'_>, vip: Option<IpAddr>, distinct: &mut Distinct<IpNet>) -> Read<IpNet> {
    let prefix = value.parsed(values::prefix)?;
    if let Some(vip) = vip
        && vip.is_ipv4() != prefix.addr().is_ipv4()
    {
        let (clients, vip) = (values::family(prefix.addr()), values::family(vip));
        return Err(value.refuse(format!(
            "an {vip} service has no {clients} clients; use an {vip} prefix"
        )));
    }
    distinct.admit(prefix, value, format!("prefix {prefix}"), "remove one of the two")?;
    Ok(prefix)
}

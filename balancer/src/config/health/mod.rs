//! Reads how the health of backends is found out: when to ask in this file, what to ask in `probes`.

mod pattern;
mod probes;

use std::time::Duration;

use clap::ValueEnum;

use super::{
    model::{Forwarding, HealthCheck, Passive, Probe, Probing, Via},
    reader::Table,
    report::Read,
    values::{LONGEST, SHORTEST},
    wording::alternatives,
};

const MAX_THRESHOLD: u32 = 1000;
const DEFAULT_CONCURRENT: usize = 2048;
const MAX_CONCURRENT: usize = 65_536;

/// What the file calls a [`Probe`], or the lack of one.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    None,
    Tcp,
    Http,
    Https,
    Udp,
    Dns,
    Grpc,
    Command,
}

/// Every kind that asks anything.
const ALL: &[Kind] = &[
    Kind::Tcp,
    Kind::Http,
    Kind::Https,
    Kind::Udp,
    Kind::Dns,
    Kind::Grpc,
    Kind::Command,
];
/// Those that go to an address.
const ADDRESSED: &[Kind] = &[Kind::Tcp, Kind::Http, Kind::Https, Kind::Udp, Kind::Dns, Kind::Grpc];
/// Those that can go over TLS.
const TLS: &[Kind] = &[Kind::Https, Kind::Grpc];
/// Those that send bytes as they are.
const RAW: &[Kind] = &[Kind::Tcp, Kind::Udp];
/// Those that speak HTTP.
const HTTP: &[Kind] = &[Kind::Http, Kind::Https];

/// The keys that not every kind has, and which kinds have them.
const KEYS: &[(&str, &[Kind])] = &[
    ("via", ADDRESSED),
    ("port", ALL),
    ("send", RAW),
    ("expect", RAW),
    ("method", HTTP),
    ("path", HTTP),
    ("host", &[Kind::Http, Kind::Https, Kind::Grpc]),
    ("headers", HTTP),
    ("expect_status", HTTP),
    ("expect_body", HTTP),
    ("query", &[Kind::Dns]),
    ("query_type", &[Kind::Dns]),
    ("transport", &[Kind::Dns]),
    ("expect_rcode", &[Kind::Dns]),
    ("expect_answer", &[Kind::Dns]),
    ("grpc_service", &[Kind::Grpc]),
    ("command", &[Kind::Command]),
    ("env", &[Kind::Command]),
    ("tls", &[Kind::Grpc]),
    ("ca", TLS),
    ("sni", TLS),
    ("verify", TLS),
    ("interval", ALL),
    ("interval_down", ALL),
    ("timeout", ALL),
    ("healthy_threshold", ALL),
    ("unhealthy_threshold", ALL),
    ("flap_limit", ALL),
    ("flap_window", ALL),
];

/// Reads `[health]`.
pub(super) fn probing(table: Table<'_>) -> Read<Probing> {
    let max_concurrent = table.or("max_concurrent", DEFAULT_CONCURRENT, |value| {
        value.integer(1..=MAX_CONCURRENT)
    });
    Ok(Probing {
        max_concurrent: max_concurrent?,
    })
}

/// Reads `[service.health]` of a service with this forwarding, if that could be read; `None` if nothing is to be checked.
pub(super) fn check(table: Table<'_>, forwarding: Option<Forwarding>) -> Read<Option<HealthCheck>> {
    let kind = table
        .required("kind", r#"kind = "http""#)
        .and_then(|value| value.one_of());
    let via = table.optional("via", |value| {
        let via = value.one_of()?;
        match (via, forwarding) {
            (Via::Path, Some(forwarding)) if forwarding.replies_return() => Err(value
                .refuse("with this forwarding packets go to the backend's own address, and so do probes; remove it")),
            _ => Ok(via),
        }
    });
    let port = table.optional("port", |value| value.integer(1..=u16::MAX));
    let interval = duration(table, "interval", 10);
    let interval_down = table.optional("interval_down", |value| value.duration(SHORTEST..=LONGEST));
    let timeout = duration(table, "timeout", 5);
    let healthy_threshold = table.or("healthy_threshold", 2, |value| value.integer(1..=MAX_THRESHOLD));
    let unhealthy_threshold = table.or("unhealthy_threshold", 3, |value| value.integer(1..=MAX_THRESHOLD));
    let flap_limit = table.or("flap_limit", 0, |value| value.integer(0..=MAX_THRESHOLD));
    let flap_window = duration(table, "flap_window", 600);

    let kind = kind?;
    refuse_foreign_keys(table, kind);
    let probe = match kind {
        Kind::None => return Ok(None),
        Kind::Tcp => probes::tcp(table).map(Probe::Tcp),
        Kind::Http => probes::http(table, Ok(None)).map(Probe::Http),
        Kind::Https => probes::http(table, probes::tls(table).map(Some)).map(Probe::Http),
        Kind::Udp => probes::udp(table).map(Probe::Udp),
        Kind::Dns => probes::dns(table).map(Probe::Dns),
        Kind::Grpc => probes::grpc(table).map(Probe::Grpc),
        Kind::Command => probes::command(table).map(Probe::Command),
    };
    let (interval, timeout) = (interval?, timeout?);
    if timeout > interval {
        table.warn_at(
            "timeout",
            "the timeout is longer than the interval, so failures are seen late; make the interval longer or the timeout shorter",
        );
    }
    let default = match kind {
        Kind::Command => Via::Address,
        _ if forwarding.is_none_or(Forwarding::replies_return) => Via::Address,
        _ => Via::Path,
    };
    Ok(Some(HealthCheck {
        probe: probe?,
        via: via?.unwrap_or(default),
        port: port?,
        interval,
        interval_down: interval_down?.unwrap_or(interval),
        timeout,
        healthy_threshold: healthy_threshold?,
        unhealthy_threshold: unhealthy_threshold?,
        flap_limit: flap_limit?,
        flap_window: flap_window?,
    }))
}

fn duration(table: Table<'_>, key: &'static str, default_seconds: u64) -> Read<Duration> {
    table.or(key, Duration::from_secs(default_seconds), |value| {
        value.duration(SHORTEST..=LONGEST)
    })
}

fn refuse_foreign_keys(table: Table<'_>, kind: Kind) {
    let name = |kind: &Kind| kind.to_possible_value().map(|value| format!("{:?}", value.get_name()));
    let shown = name(&kind).unwrap_or_default();
    for (key, kinds) in KEYS {
        if table.has(key) && !kinds.contains(&kind) {
            let others: Vec<String> = kinds.iter().filter_map(name).collect();
            let others = alternatives(&others);
            table.refuse_at(
                key,
                format!("{key} has no meaning with kind = {shown}; remove it, or use kind = {others}"),
            );
        }
    }
}

/// Reads `[service.passive]`.
pub(super) fn passive(table: Table<'_>) -> Read<Passive> {
    let max_fails = table.or("max_fails", 3, |value| value.integer(1..=MAX_THRESHOLD));
    let fail_timeout = duration(table, "fail_timeout", 30);
    let max_ejected = table.or("max_ejected", 0.5, |value| value.share());
    Ok(Passive {
        max_fails: max_fails?,
        fail_timeout: fail_timeout?,
        max_ejected: max_ejected?,
    })
}

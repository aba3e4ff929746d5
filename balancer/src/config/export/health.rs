//! Writes how the health of backends is found out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Writer, duration, path};
use crate::config::{
    model::{
        CommandProbe, DnsProbe, GrpcProbe, HealthCheck, HttpProbe, Pattern, Probe, TcpProbe, Tls, Trust, UdpProbe,
    },
    schema,
};

pub(super) fn write(out: &mut Writer, health: &HealthCheck) {
    let HealthCheck {
        probe,
        via,
        port,
        interval,
        interval_down,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
        flap_limit,
        flap_window,
    } = health;
    out.table(&schema::HEALTH);
    match probe {
        Probe::Tcp(probe) => tcp(out, probe),
        Probe::Http(probe) => http(out, probe),
        Probe::Udp(probe) => udp(out, probe),
        Probe::Dns(probe) => dns(out, probe),
        Probe::Grpc(probe) => grpc(out, probe),
        Probe::Command(probe) => command(out, probe),
    }
    if !matches!(probe, Probe::Command(_)) {
        out.key("via", via);
    }
    if let Some(port) = port {
        out.key("port", port);
    }
    out.key("interval", duration(*interval));
    out.key("interval_down", duration(*interval_down));
    out.key("timeout", duration(*timeout));
    out.key("healthy_threshold", healthy_threshold);
    out.key("unhealthy_threshold", unhealthy_threshold);
    out.key("flap_limit", flap_limit);
    out.key("flap_window", duration(*flap_window));
}

fn tcp(out: &mut Writer, TcpProbe { send, expect }: &TcpProbe) {
    out.key("kind", "tcp");
    if !send.is_empty() {
        out.key("send", Bytes::from(send));
    }
    if let Some(expect) = expect {
        out.key("expect", Bytes::from(expect));
    }
}

fn http(out: &mut Writer, probe: &HttpProbe) {
    let HttpProbe {
        tls,
        method,
        path,
        host,
        headers,
        expect_status: (low, high),
        expect_body,
    } = probe;
    out.key("kind", if tls.is_some() { "https" } else { "http" });
    out.key("method", method);
    out.key("path", path);
    if let Some(host) = host {
        out.key("host", host);
    }
    write_pairs(out, "headers", headers);
    out.key("expect_status", format!("{low}-{high}"));
    if let Some(expect) = expect_body {
        out.key("expect_body", Bytes::from(expect));
    }
    if let Some(tls) = tls {
        write_tls(out, tls);
    }
}

fn udp(out: &mut Writer, UdpProbe { send, expect }: &UdpProbe) {
    out.key("kind", "udp");
    out.key("send", Bytes::from(send));
    if let Some(expect) = expect {
        out.key("expect", Bytes::from(expect));
    }
}

fn dns(out: &mut Writer, probe: &DnsProbe) {
    let DnsProbe {
        query,
        query_type,
        transport,
        expect_rcode,
        expect_answer,
    } = probe;
    out.key("kind", "dns");
    out.key("query", query.to_string());
    out.key("query_type", query_type.to_string());
    out.key("transport", transport);
    out.key("expect_rcode", expect_rcode.to_string());
    if let Some(expect) = expect_answer {
        out.key("expect_answer", expect);
    }
}

fn grpc(out: &mut Writer, GrpcProbe { tls, service, host }: &GrpcProbe) {
    out.key("kind", "grpc");
    out.key("grpc_service", service);
    if let Some(host) = host {
        out.key("host", host);
    }
    out.key("tls", tls.is_some());
    if let Some(tls) = tls {
        write_tls(out, tls);
    }
}

fn command(out: &mut Writer, probe: &CommandProbe) {
    let CommandProbe {
        program,
        arguments,
        env,
    } = probe;
    out.key("kind", "command");
    let words: Vec<_> = std::iter::once(program).chain(arguments).collect();
    out.key("command", words);
    write_pairs(out, "env", env);
}

/// Writes a table whose keys are the user's choice, if it has any.
fn write_pairs(out: &mut Writer, key: &str, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        let pairs: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (name, value)).collect();
        out.key(key, pairs);
    }
}

fn write_tls(out: &mut Writer, Tls { trust, sni }: &Tls) {
    if let Trust::Authorities(ca) = trust {
        out.key("ca", path(ca));
    }
    if let Some(sni) = sni {
        out.key("sni", sni);
    }
    out.key("verify", *trust != Trust::Anyone);
}

/// The forms that bytes and patterns have in a file.
#[derive(Serialize)]
#[serde(rename_all = "lowercase", untagged)]
enum Bytes<'a> {
    Text(&'a str),
    Hex { hex: String },
    Regex { regex: &'a str },
}

impl<'a> From<&'a Vec<u8>> for Bytes<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Hex {
                hex: bytes
                    .iter()
                    .flat_map(|byte| [byte >> 4, byte & 0xf])
                    .filter_map(|digit| char::from_digit(digit.into(), 16))
                    .collect(),
            },
        }
    }
}

impl<'a> From<&'a Pattern> for Bytes<'a> {
    fn from(pattern: &'a Pattern) -> Self {
        match pattern {
            Pattern::Bytes(bytes) => Self::from(bytes),
            Pattern::Regex(regex) => Self::Regex { regex },
        }
    }
}

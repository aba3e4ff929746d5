//! Reads what each kind of probe asks.

use domain::base::{Rtype, iana::Rcode};

use super::{
    super::{
        model::{CommandProbe, DnsProbe, GrpcProbe, HttpProbe, Pattern, Protocol, TcpProbe, Tls, Trust, UdpProbe},
        reader::{Distinct, Table, Value},
        report::Read,
        schema::{self, Shape},
        values,
    },
    pattern,
};

pub(super) fn tcp(table: Table<'_>) -> Read<TcpProbe> {
    let send = table.or("send", Vec::new(), |value| pattern::payload(&value, &schema::SEND));
    let expect = expected(table, "expect", &schema::EXPECT);
    Ok(TcpProbe {
        send: send?,
        expect: expect?,
    })
}

pub(super) fn http(table: Table<'_>, tls: Read<Option<Tls>>) -> Read<HttpProbe> {
    let method = table.or("method", "GET".to_owned(), |value| value.parsed(values::http_method));
    let path = table.or("path", "/".to_owned(), |value| value.parsed(values::http_path));
    let host = table.optional("host", |value| value.parsed(values::http_host));
    let headers = table.or("headers", Vec::new(), headers);
    let expect_status = table.or("expect_status", (200, 399), |value| value.parsed(values::statuses));
    let expect_body = expected(table, "expect_body", &schema::EXPECT_BODY);
    let method = method?;
    if method == "HEAD" && table.has("expect_body") {
        table.refuse_at(
            "expect_body",
            "an answer to HEAD has no body; remove it, or use method = \"GET\"",
        );
    }
    Ok(HttpProbe {
        tls: tls?,
        method,
        path: path?,
        host: host?,
        headers: headers?,
        expect_status: expect_status?,
        expect_body: expect_body?,
    })
}

pub(super) fn udp(table: Table<'_>) -> Read<UdpProbe> {
    let TcpProbe { send, expect } = tcp(table)?;
    Ok(UdpProbe { send, expect })
}

pub(super) fn dns(table: Table<'_>) -> Read<DnsProbe> {
    let query = table
        .required("query", r#"query = "www.example.com""#)
        .and_then(|value| value.parsed(values::domain_name));
    let query_type = table.or("query_type", Rtype::A, |value| value.parsed(values::record_type));
    let transport = table.or("transport", Protocol::Udp, |value| value.one_of());
    let expect_rcode = table.or("expect_rcode", Rcode::NOERROR, |value| value.parsed(values::rcode));
    let query_type = query_type?;
    let expect_answer = table.optional("expect_answer", |value| {
        value.parsed(|text| values::record_data(text, query_type))
    });
    Ok(DnsProbe {
        query: query?,
        query_type,
        transport: transport?,
        expect_rcode: expect_rcode?,
        expect_answer: expect_answer?,
    })
}

pub(super) fn grpc(table: Table<'_>) -> Read<GrpcProbe> {
    let service = table.or("grpc_service", String::new(), |value| Ok(value.string()?.to_owned()));
    let host = table.optional("host", |value| value.parsed(values::http_host));
    let tls = if table.or("tls", false, |value| value.boolean())? {
        Some(tls(table)?)
    } else {
        refuse_tls_keys(table);
        None
    };
    Ok(GrpcProbe {
        tls,
        service: service?,
        host: host?,
    })
}

pub(super) fn command(table: Table<'_>) -> Read<CommandProbe> {
    let command = table
        .required("command", r#"command = ["/usr/bin/check", "{address}", "{port}"]"#)
        .and_then(words);
    let env = table.or("env", Vec::new(), |value| {
        let example = r#"env = { NAME = "{backend}" }"#;
        let mut env = value.entries("variable", example, |name, value| {
            let name = name.parsed(values::variable_name);
            let value = value.parsed(values::without_zero);
            Ok((name?, value?))
        })?;
        env.sort_unstable();
        Ok(env)
    });
    let (program, arguments) = command?;
    Ok(CommandProbe {
        program,
        arguments,
        env: env?,
    })
}

/// The path of a program, and its arguments.
fn words(value: Value<'_>) -> Read<(String, Vec<String>)> {
    let mut first = true;
    let mut words = value.each("a word of command", |word| {
        if std::mem::take(&mut first) {
            word.parsed(values::program)
        } else {
            word.parsed(values::without_zero)
        }
    })?;
    if words.is_empty() {
        return Err(value.refuse("command is empty; begin it with the path of a program"));
    }
    let program = words.remove(0);
    Ok((program, words))
}

fn refuse_tls_keys(table: Table<'_>) {
    for key in ["ca", "sni", "verify"] {
        if table.has(key) {
            let message = format!("{key} has no effect without TLS; add tls = true, or remove it");
            table.refuse_at(key, message);
        }
    }
}

/// Reads the keys that concern TLS.
pub(super) fn tls(table: Table<'_>) -> Read<Tls> {
    let ca = table.optional("ca", |value| value.parsed(values::absolute_path));
    let sni = table.optional("sni", |value| value.parsed(values::server_name));
    let verify = table.or("verify", true, |value| value.boolean());
    let trust = match (verify?, ca?) {
        (true, None) => Trust::System,
        (true, Some(ca)) => Trust::Authorities(ca),
        (false, None) => Trust::Anyone,
        (false, Some(_)) => {
            return Err(table.refuse_at("ca", "ca has no effect with verify = false; remove one of the two"));
        }
    };
    Ok(Tls { trust, sni: sni? })
}

fn expected(table: Table<'_>, key: &'static str, shape: &'static Shape) -> Read<Option<Pattern>> {
    table.optional(key, |value| pattern::pattern(&value, shape))
}

fn headers(value: Value<'_>) -> Read<Vec<(String, String)>> {
    let mut distinct = Distinct::default();
    let example = r#"headers = { x-probe = "yes" }"#;
    let mut headers = value.entries("header", example, |key, value| {
        let name = key.parsed(values::header_name);
        let content = value.parsed(values::header_value);
        let name = name?;
        // Names differ in the file, but perhaps in case only.
        distinct.admit(name.clone(), &value, format!("header {name}"), "remove one of the two")?;
        Ok((name, content?))
    })?;
    headers.sort_unstable();
    Ok(headers)
}

//! What the strings and numbers of a configuration may be.
//!
//! An error completes a sentence that begins with the value: `is not …; write …`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use balancer_common::quic::MAX_SERVER_ID;
use domain::base::{Name, Rtype, iana::Rcode};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use ipnet::IpNet;
use regex::bytes::RegexBuilder;
use tokio_rustls::rustls::pki_types::ServerName;

use super::model::ServerId;
use crate::maglev::TableSize;

/// The shortest time that anything waits for.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// The longest duration, a Julian year of 365.25 days: far from where its sum with a point in time overflows.
pub(super) const LONGEST: Duration = Duration::from_hours(8766);

/// The fewest and the most slots that a Maglev table may have, both prime. The most is the larger of the two sizes that
/// the Maglev paper (NSDI 2016, section 5.3) measures.
pub(super) const MAGLEV_SIZES: (u32, u32) = (3, 655_373);

/// Bytes that a probe sends at most.
pub(super) const MAX_PAYLOAD: usize = 4096;

/// Bytes that a compiled regular expression has at most.
const MAX_REGEX: usize = 1 << 20;

fn has_only(text: &str, punctuation: &str, longest: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || punctuation.contains(c);
    (1..=longest).contains(&text.len()) && text.chars().all(allowed)
}

/// A name for a service.
pub(super) fn service_name(text: &str) -> Result<String, String> {
    if has_only(text, "._-", 63) {
        Ok(text.to_owned())
    } else {
        Err("is not a name; use 1 to 63 of the characters A-Z a-z 0-9 . _ -".to_owned())
    }
}

/// A name for a backend: like a service's, or an address.
pub(super) fn backend_name(text: &str) -> Result<String, String> {
    if has_only(text, "._-:[]", 63) {
        Ok(text.to_owned())
    } else {
        Err("is not a name; use 1 to 63 of the characters A-Z a-z 0-9 . _ - : [ ]".to_owned())
    }
}

/// A name that Linux gives to interfaces.
pub(super) fn interface(text: &str) -> Result<String, String> {
    let strange = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if (1..=15).contains(&text.len()) && !text.contains(strange) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("is not an interface name; use 1 to 15 bytes without '/', ':' and white space".to_owned())
    }
}

/// A path that does not depend on the working directory.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let text = without_zero(text)?;
    if Path::new(&text).is_absolute() {
        Ok(PathBuf::from(text))
    } else {
        Err("is not an absolute path; begin it with '/'".to_owned())
    }
}

/// The path of a program.
pub(super) fn program(text: &str) -> Result<String, String> {
    absolute_path(text).map(|_| text.to_owned())
}

/// The name of an environment variable.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    if has_only(text, "_", 255) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("is not the name of a variable; use letters, digits and '_'".to_owned())
    }
}

/// Something that can be passed to a program.
pub(super) fn without_zero(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        Err("contains a zero byte; remove it".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A path that a Unix socket can be bound to: `sun_path` of unix(7) holds 107 bytes and the final zero.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > 107 {
        return Err(format!(
            "has {} bytes; a socket's path can have 107, use a shorter one",
            text.len()
        ));
    }
    absolute_path(text)
}

/// A duration like `30s` or `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let mend = || "is not a duration; write it like \"500ms\", \"30s\", \"10m\" or \"2h\"".to_owned();
    humantime::parse_duration(text).ok().ok_or_else(mend)
}

/// An address and port to listen on.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let mend = || "is not an IP address with a port; write it like \"127.0.0.1:9310\" or \"[::1]:9310\"".to_owned();
    text.parse().ok().ok_or_else(mend)
}

/// A VIP.
pub(super) fn vip(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return host_address(address, "use an address that clients can reach");
    }
    Err(match text.parse::<SocketAddr>() {
        Ok(socket) => format!(
            "has a port; write {:?} here and {} in ports",
            socket.ip().to_string(),
            socket.port()
        ),
        Err(_) => "is not an IP address; write it like \"192.0.2.10\" or \"2001:db8::10\"".to_owned(),
    })
}

/// A backend's address and, if given, its port, as configurations and commands write them.
///
/// # Errors
///
/// What to say behind the text: why it is none, and how to write one.
pub fn backend_address(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    const MEND: &str = "use an address of the backend on the network";
    if let Ok(address) = text.parse() {
        return Ok((host_address(address, MEND)?, None));
    }
    match text.parse() {
        Ok(SocketAddr::V6(socket)) if socket.scope_id() != 0 => Err("has a zone; remove '%' and what follows it".to_owned()),
        Ok(socket) if socket.port() == 0 => {
            Err("has port 0; use 1 to 65535, or leave the port out to keep the client's".to_owned())
        }
        Ok(socket) => Ok((host_address(socket.ip(), MEND)?, Some(socket.port()))),
        Err(_) => Err(
            "is not an IP address with or without a port; write it like \"10.0.0.11:80\", \"10.0.0.11\" or \"[2001:db8::1]:80\""
                .to_owned(),
        ),
    }
}

/// An IPv4 address for packets in tunnels to come from.
pub(super) fn tunnel_source_v4(text: &str) -> Result<Ipv4Addr, String> {
    match tunnel_source(text)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err("is an IPv6 address; write it under v6".to_owned()),
    }
}

/// An IPv6 address for packets in tunnels to come from.
pub(super) fn tunnel_source_v6(text: &str) -> Result<Ipv6Addr, String> {
    match tunnel_source(text)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err("is an IPv4 address; write it under v4".to_owned()),
    }
}

fn tunnel_source(text: &str) -> Result<IpAddr, String> {
    let mend = || "is not an IP address; write it like \"10.0.0.1\" or \"2001:db8::1\"".to_owned();
    let address = text.parse().ok().ok_or_else(mend)?;
    host_address(address, "use an address of this host, or leave it out")
}

/// An address that one host can have on a network.
fn host_address(address: IpAddr, mend: &str) -> Result<IpAddr, String> {
    let kind = match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            return Err(format!(
                "is an IPv4-mapped address; write it as IPv4: \"{}\"",
                address.to_canonical()
            ));
        }
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        _ => return Ok(address),
    };
    Err(format!("is {kind}; {mend}"))
}

/// The name of an address family.
pub(super) const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// A prefix without bits beyond its length.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(format!("has no prefix length; write \"{}\"", IpNet::from(address)));
    }
    let mend = || "is not a prefix; write it like \"10.1.0.0/16\" or \"2001:db8::/32\"".to_owned();
    let prefix: IpNet = text.parse().ok().ok_or_else(mend)?;
    if prefix == prefix.trunc() {
        Ok(prefix)
    } else {
        Err(format!("has bits beyond its length; write \"{}\"", prefix.trunc()))
    }
}

/// The path and query of an HTTP request.
pub(super) fn http_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.contains('#') && text.parse::<hyper::Uri>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("is not the path of a URL; begin it with '/' and percent-encode what a URL cannot hold".to_owned())
    }
}

/// The value of a `Host` header.
pub(super) fn http_host(text: &str) -> Result<String, String> {
    if has_only(text, "._-:[]", 255) {
        Ok(text.to_owned())
    } else {
        Err("is not a host; write a name or an address, with or without a port".to_owned())
    }
}

/// The lowest and the highest of a range of HTTP statuses (RFC 9110, section 15).
pub(super) fn statuses(text: &str) -> Result<(u16, u16), String> {
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err("is not a range of HTTP statuses; write it like \"200\" or \"200-399\"".to_owned()),
    }
}

/// The lowest and the highest of a range of ports.
pub(super) fn ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err("is not a range of ports; write it like \"1024-32767\"".to_owned()),
    }
}

/// An address of the balancer's own.
pub(super) fn source_address(text: &str) -> Result<IpAddr, String> {
    let mend = || "is not an IP address; write it like \"10.2.0.1\" or \"2001:db8:2::1\"".to_owned();
    let address = text.parse().ok().ok_or_else(mend)?;
    host_address(address, "use an address of this host that the backends can reach")
}

/// The method of an HTTP request.
pub(super) fn http_method(text: &str) -> Result<String, String> {
    let is_method = (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    if is_method && text != "CONNECT" {
        Ok(text.to_owned())
    } else {
        Err("is not a method that a probe can use; write one like \"GET\", \"HEAD\" or \"OPTIONS\"".to_owned())
    }
}

/// The name of a header that is not the probe's own business, in lower case.
pub(super) fn header_name(text: &str) -> Result<String, String> {
    let mend = || "is not the name of a header; use letters, digits and '-'".to_owned();
    let name: HeaderName = text.parse().ok().ok_or_else(mend)?;
    if name == HOST {
        Err("has a key of its own; write host = \"www.example.com\" beside headers".to_owned())
    } else if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
        Err("is set by the probe itself; remove it".to_owned())
    } else {
        Ok(name.to_string())
    }
}

/// The value of a header.
pub(super) fn header_value(text: &str) -> Result<String, String> {
    match HeaderValue::from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("cannot be the value of a header; remove its control characters".to_owned()),
    }
}

/// A name, or an address, that a certificate can be for.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is not the name of a server; write one like \"www.example.com\"".to_owned()),
    }
}

/// A domain name.
pub(super) fn domain_name(text: &str) -> Result<Name<Vec<u8>>, String> {
    let mend = || "is not a domain name; write it like \"www.example.com\"".to_owned();
    Name::from_str(text).ok().ok_or_else(mend)
}

/// A type of DNS records.
pub(super) fn record_type(text: &str) -> Result<Rtype, String> {
    let mend = || "is not a type of DNS records; write one like \"A\", \"AAAA\", \"SOA\" or \"TXT\"".to_owned();
    text.parse().ok().ok_or_else(mend)
}

/// A response code of DNS.
pub(super) fn rcode(text: &str) -> Result<Rcode, String> {
    let mend = || "is not a DNS response code; write one like \"NOERROR\", \"NXDOMAIN\" or \"REFUSED\"".to_owned();
    text.parse().ok().ok_or_else(mend)
}

/// What a record of type `record_type` has.
pub(super) fn record_data(text: &str, record_type: Rtype) -> Result<String, String> {
    match record_type {
        _ if text.is_empty() => Err("is empty; write the data of a record, like \"192.0.2.1\"".to_owned()),
        Rtype::A => match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err("is not an IPv4 address, which is what A records have".to_owned()),
        },
        Rtype::AAAA => match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err("is not an IPv6 address, which is what AAAA records have".to_owned()),
        },
        _ => Ok(text.to_owned()),
    }
}

/// Bytes in hexadecimal, with or without spaces between them.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    match digits.as_deref().map(<[u8]>::as_chunks) {
        Some((pairs, [])) => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err("is not hexadecimal; write two digits for each byte, like \"01ff\"".to_owned()),
    }
}

/// What a server calls itself in QUIC connection IDs.
pub fn server_id(text: &str) -> Result<ServerId, String> {
    ServerId::new(hex(text)?).ok_or_else(|| format!("is not 1 to {MAX_SERVER_ID} bytes; write it like \"0a00000b\""))
}

/// A regular expression.
pub(super) fn regex(text: &str) -> Result<String, String> {
    match RegexBuilder::new(text).size_limit(MAX_REGEX).build() {
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::CompiledTooBig(_)) => Err("is too large a regular expression; repeat less in it".to_owned()),
        Err(error) => {
            // The lines before the last one repeat the expression and point at the place in it.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!(
                "is not a regular expression: {reason}; write it as Rust's regex crate has it"
            ))
        }
    }
}

/// The smallest table with at least `slots` slots, or the largest of all.
pub(super) fn maglev_size_from(slots: u32) -> u32 {
    let (smallest, largest) = MAGLEV_SIZES;
    (slots.max(smallest)..largest)
        .find(|&size| TableSize::new(size).is_some())
        .unwrap_or(largest)
}

/// The largest table with at most `slots` slots, or the smallest of all.
pub(super) fn maglev_size_to(slots: u32) -> u32 {
    let (smallest, largest) = MAGLEV_SIZES;
    (smallest..=slots.min(largest))
        .rev()
        .find(|&size| TableSize::new(size).is_some())
        .unwrap_or(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_primes_are_found_and_bounded() {
        for (slots, above, below) in [(0, 3, 3), (4, 5, 3), (65_537, 65_537, 65_537), (65_538, 65_539, 65_537)] {
            assert_eq!(
                (maglev_size_from(slots), maglev_size_to(slots)),
                (above, below),
                "{slots}"
            );
        }
        assert_eq!(maglev_size_from(u32::MAX), 655_373);
        assert_eq!(maglev_size_to(u32::MAX), 655_373);
    }
}

//! The ports that the kernel gives to the host's own connections, health probes among them. Full NAT has to leave them
//! alone: a reply to such a connection could be taken for one of a client's.

use std::{fs, ops::RangeInclusive};

use crate::config::{Config, Forwarding};

/// Where the kernel says which ports those are (ip-sysctl in the kernel's documentation).
const FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Warns if full NAT sends from ports of the host's own connections.
pub fn warn_of_overlap(config: &Config) {
    // A kernel that does not say has no such ports.
    let range = fs::read_to_string(FILE).ok();
    if let Some(range) = range.as_deref().and_then(parse)
        && overlaps(config, &range)
    {
        let (first, last) = config.dataplane.source_ports;
        tracing::warn!(
            "dataplane.source_ports {first}-{last} has ports that the kernel gives to this host's own connections ({}-{}): \
             choose others, or change net.ipv4.ip_local_port_range",
            range.start(),
            range.end()
        );
    }
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim_start().parse().ok()?)
}

fn overlaps(config: &Config, own: &RangeInclusive<u16>) -> bool {
    let (first, last) = config.dataplane.source_ports;
    let in_use = config
        .services
        .iter()
        .any(|service| service.forwarding == Forwarding::FullNat);
    in_use && first <= *own.end() && *own.start() <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse as parse_config;

    #[test]
    fn the_kernels_way_of_writing_it_is_understood() {
        assert_eq!(parse("32768\t60999\n"), Some(32_768..=60_999));
        for text in ["", "32768", "32768\t", "a\tb", "1\t65536"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn ranges_overlap_if_they_have_a_port_in_common_and_full_nat_uses_it() {
        let config = |forwarding: &str, ports: &str| {
            let text = format!(
                "version = 1\n[dataplane]\ninterfaces = ['eth0']\nsource_addresses = ['10.2.0.1']\nsource_ports = '{ports}'\n\
                 [[service]]\nname = 'web'\naddress = '192.0.2.10'\nports = [80]\nforwarding = '{forwarding}'\n"
            );
            parse_config(&text, "test.toml").unwrap().config
        };
        let own = 32_768..=60_999;
        for (ports, expected) in [
            ("1024-32767", false),
            ("1024-32768", true),
            ("60999-65535", true),
            ("61000-65535", false),
            ("1-65535", true),
            ("40000-40001", true),
        ] {
            assert_eq!(overlaps(&config("full-nat", ports), &own), expected, "{ports}");
            assert!(!overlaps(&config("nat", ports), &own), "{ports}");
        }
    }
}

//! What services under full NAT send from. A pure function.

use std::time::Duration;

use balancer_common::abi::{Address, SourcePool};

use crate::config::{Dataplane, Forwarding, Protocol, Service};

/// How long a UDP flow may be silent before another may have its port (RFC 4787, REQ-5).
const UDP_IDLE: Duration = Duration::from_mins(5);

/// What new flows of a service may have as their source.
pub(super) fn sources(dataplane: &Dataplane, service: &Service) -> Option<Box<SourcePool>> {
    if service.forwarding != Forwarding::FullNat {
        return None;
    }
    let addresses = match service.source_addresses.as_slice() {
        [] => &dataplane.source_addresses,
        own => own,
    };
    // A flow that has no claim to its backend any more has none to its port either.
    let idle = match service.protocol {
        Protocol::Tcp => service.affinity_timeout,
        Protocol::Udp => service.affinity_timeout.min(UDP_IDLE),
    };
    let seconds = idle.as_millis().div_ceil(1_000);
    Some(Box::new(SourcePool::new(
        addresses.iter().copied().map(Address::from),
        dataplane.source_ports,
        u32::try_from(seconds).unwrap_or(u32::MAX),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    fn config(keys: &str) -> Config {
        let text = format!(
            r#"
                version = 1
                [dataplane]
                interfaces = ["eth0"]
                source_addresses = ["10.2.0.1", "fd00:2::1"]
                source_ports = "2000-2999"
                [[service]]
                name = "web"
                address = "192.0.2.10"
                ports = [80]
                {keys}
            "#
        );
        parse(&text, "test.toml").unwrap().config
    }

    fn pool(keys: &str) -> Option<SourcePool> {
        let config = config(keys);
        sources(&config.dataplane, &config.services[0]).map(|pool| *pool)
    }

    #[test]
    fn a_service_sends_from_its_own_addresses_or_else_from_those_of_all() {
        let of = |addresses: &[&str]| {
            let addresses = addresses
                .iter()
                .map(|address| Address::from(address.parse::<std::net::IpAddr>().unwrap()));
            Some(SourcePool::new(addresses, (2_000, 2_999), 3 * 3_600))
        };
        assert_eq!(pool("forwarding = 'full-nat'"), of(&["10.2.0.1", "fd00:2::1"]));
        assert_eq!(
            pool("forwarding = 'full-nat'\nsource_addresses = ['10.2.0.7']"),
            of(&["10.2.0.7"])
        );
        assert_eq!(pool("forwarding = 'nat'"), None);
    }

    #[test]
    fn an_idle_flow_keeps_its_port_as_long_as_its_backend_and_a_datagrams_five_minutes_at_most() {
        for (protocol, timeout, seconds) in [
            ("tcp", "1h", 3_600),
            ("tcp", "1500ms", 2),
            ("tcp", "1ms", 1),
            ("udp", "1h", 300),
            ("udp", "30s", 30),
        ] {
            let keys = format!("forwarding = 'full-nat'\nprotocol = '{protocol}'\naffinity_timeout = '{timeout}'");
            assert_eq!(pool(&keys).unwrap().idle, seconds, "{protocol} {timeout}");
        }
    }
}

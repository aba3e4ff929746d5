use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Admin, Affinity, AffinityPrefix, Backend, Config, Control, Dataplane, Forwarding, HealthCheck, HttpProbe,
        Limits, Metrics, Passive, Pin, PinTarget, Probe, Probing, Protocol, Quic, Rate, Selection, Service, Sources,
        Tracking, TunnelSource, Via, WhenDown, XdpMode,
    },
    FULL_EXAMPLE, parse, parse_all, shown,
};
use crate::maglev::TableSize;

/// What [`FULL_EXAMPLE`] says.
fn full_example() -> Config {
    Config {
        dataplane: Dataplane {
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            pin_path: "/sys/fs/bpf/balancer".into(),
            max_flows: 1_048_576,
            max_services: 4096,
            max_clients: 262_144,
            max_backends: 16384,
            tunnel_source: TunnelSource::default(),
            source_addresses: vec![],
            source_ports: (1_024, 32_767),
            max_mappings: 262_144,
        },
        control: Control {
            socket: "/run/balancer/balancer.sock".into(),
            state: "/var/lib/balancer".into(),
        },
        metrics: Metrics {
            listen: "127.0.0.1:9310".parse().unwrap(),
        },
        health: Probing { max_concurrent: 2048 },
        services: vec![Service {
            name: "web".to_owned(),
            address: "192.0.2.10".parse().unwrap(),
            ports: vec![80, 443],
            protocol: Protocol::Tcp,
            forwarding: Forwarding::Nat,
            source_addresses: vec![],
            mss: None,
            affinity: Affinity::ClientIpPort,
            affinity_prefix: AffinityPrefix { v4: 32, v6: 128 },
            affinity_timeout: Duration::from_hours(3),
            quic: Quic::default(),
            when_down: WhenDown::Reassign,
            maglev_size: TableSize::DEFAULT,
            selection: Selection::Maglev,
            tracking: Tracking::Full,
            slow_start: Duration::ZERO,
            panic_threshold: 0.0,
            wake: vec![],
            health: Some(HealthCheck {
                probe: Probe::Http(HttpProbe {
                    tls: None,
                    method: "GET".to_owned(),
                    path: "/health".to_owned(),
                    host: None,
                    headers: vec![],
                    expect_status: (200, 399),
                    expect_body: None,
                }),
                via: Via::Address,
                port: None,
                interval: Duration::from_secs(10),
                interval_down: Duration::from_secs(10),
                timeout: Duration::from_secs(5),
                healthy_threshold: 2,
                unhealthy_threshold: 3,
                flap_limit: 0,
                flap_window: Duration::from_mins(10),
            }),
            passive: Some(Passive {
                max_fails: 3,
                fail_timeout: Duration::from_secs(30),
                max_ejected: 0.5,
            }),
            limits: Some(Limits {
                new_flows_per_client: Rate { rate: 100, burst: 200 },
            }),
            backends: vec![Backend {
                name: "fs9-1".to_owned(),
                address: "10.0.0.11".parse().unwrap(),
                port: Some(9999),
                weight: 100,
                backup: false,
                admin: Admin::Active,
                server_id: None,
            }],
            pins: vec![Pin {
                prefix: "10.1.0.0/16".parse().unwrap(),
                target: PinTarget::Key("tenant-a".to_owned()),
            }],
            sources: Some(Arc::new(Sources {
                allow: vec!["0.0.0.0/0".parse().unwrap()],
                deny: vec!["203.0.113.0/24".parse().unwrap()],
            })),
        }],
    }
}

/// The example without the lines of these tables.
fn without_tables(headers: &[&str]) -> String {
    let mut dropping = false;
    let keep = |line: &&str| {
        if line.starts_with('[') {
            dropping = headers.iter().any(|header| line.starts_with(header));
        }
        !dropping
    };
    FULL_EXAMPLE.split_inclusive('\n').filter(keep).collect()
}

#[test]
fn every_key_of_the_example_reaches_the_model() {
    assert_eq!(parse_all(FULL_EXAMPLE).unwrap().config, full_example());
}

#[test]
fn the_example_without_what_is_unsupported_reaches_the_model() {
    let text = without_tables(&["[service.limits]", "[[service.pin]]"]);
    let mut expected = full_example();
    expected.services[0].limits = None;
    expected.services[0].pins = vec![];
    let loaded = parse(&text, "test.toml").unwrap();
    assert_eq!(loaded.config, expected);
    assert_eq!(
        shown(&loaded.warnings),
        "test.toml:64:11: all ports of the service reach the one port of this backend; leave it out to keep the client's"
    );
}

#[test]
fn what_is_left_out_gets_the_values_of_the_example() {
    let text = r#"
        version = 1
        dataplane.interfaces = ["eth0"]
        [[service]]
        name = "web"
        address = "192.0.2.10"
        ports = [443, 80]
        [service.health]
        kind = "http"
        path = "/health"
        [service.passive]
        [service.limits]
        new_flows_per_client = { rate = 100, burst = 200 }
        [[service.backend]]
        name = "fs9-1"
        address = "10.0.0.11:9999"
        [[service.pin]]
        prefix = "10.1.0.0/16"
        key = "tenant-a"
        [service.sources]
        allow = ["0.0.0.0/0"]
        deny = ["203.0.113.0/24"]
    "#;
    assert_eq!(parse_all(text).unwrap().config, full_example());
}

#[test]
fn a_backend_without_a_name_is_named_by_its_address() {
    for (address, name) in [
        ("10.0.0.11:9999", "10.0.0.11:9999"),
        ("10.0.0.11", "10.0.0.11"),
        ("[2001:DB8::0:1]:80", "[2001:db8::1]:80"),
        ("2001:db8:0::1", "2001:db8::1"),
    ] {
        let vip = if name.contains("::") {
            "2001:db8::a"
        } else {
            "192.0.2.10"
        };
        let text = format!(
            r#"
                version = 1
                dataplane.interfaces = ["eth0"]
                service = [{{ name = "web", address = "{vip}", ports = [80], backend = [{{ address = "{address}" }}] }}]
            "#
        );
        assert_eq!(parse_all(&text).unwrap().config.services[0].backends[0].name, name);
    }
}

#[test]
fn what_this_version_cannot_do_is_refused_at_its_place_and_all_at_once() {
    let expected = "\
test.toml:62:1: limits is not supported by this version; leave it out";
    assert_eq!(parse(FULL_EXAMPLE, "test.toml").unwrap_err().to_string(), expected);
}

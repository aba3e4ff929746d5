use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Admin, Affinity, Backend, Config, Control, Dataplane, Forwarding, HealthCheck, HttpProbe, Limits, Metrics,
        Passive, Pin, PinTarget, PrefixLengths, Probe, Probing, Protocol, Quic, Rate, Selection, Service, Sources,
        Tracking, TunnelSource, Via, WhenDown, XdpMode,
    },
    FULL_EXAMPLE, parse_all, shown,
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
            affinity_prefix: PrefixLengths { v4: 32, v6: 128 },
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
                new_flows_per_client: Some(Rate { rate: 100, burst: 200 }),
                new_flows: Some(Rate {
                    rate: 20_000,
                    burst: 40_000,
                }),
                client_prefix: PrefixLengths { v4: 32, v6: 64 },
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

#[test]
fn every_key_of_the_example_reaches_the_model() {
    let loaded = parse_all(FULL_EXAMPLE).unwrap();
    assert_eq!(loaded.config, full_example());
    assert_eq!(
        shown(&loaded.warnings),
        "test.toml:69:11: all ports of the service reach the one port of this backend; leave it out to keep the client's"
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
        new_flows = { rate = 20000, burst = 40000 }
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

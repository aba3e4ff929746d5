use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use domain::base::{Rtype, iana::Rcode};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*};

use super::{
    super::{
        Admin, Affinity, Backend, CommandProbe, Config, Control, Dataplane, DnsProbe, Forwarding, GrpcProbe,
        HealthCheck, HttpProbe, Limits, Metrics, Passive, Pattern, Pin, PinTarget, PrefixLengths, Probe, Probing,
        Protocol, Quic, QuicLayout, Rate, Selection, ServerId, Service, Sources, TcpProbe, Tls, Tracking, Trust,
        TunnelSource, UdpProbe, Via, address_text, export,
    },
    FULL_EXAMPLE, parse_all,
};
use crate::maglev::TableSize;

fn one_of<E: ValueEnum + std::fmt::Debug + 'static>() -> impl Strategy<Value = E> {
    prop::sample::select(E::value_variants().to_vec())
}

fn duration(from: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (from..=10_000).prop_map(Duration::from_millis),
        (1..=365 * 86_400_u64).prop_map(Duration::from_secs),
        (1_000_000..=u64::from(u32::MAX)).prop_map(Duration::from_nanos),
    ]
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-z\"\\\\ é\n']{0,40}".prop_map(PathBuf::from)
}

/// An address that no other `number` yields.
fn address(v4: bool, net: u8, number: usize) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    if v4 {
        Ipv4Addr::new(10, net, high, low).into()
    } else {
        Ipv6Addr::from([0x20, 1, 0xd, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, high, low]).into()
    }
}

fn payload(least: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), least..9), any::<String>().prop_map(String::into_bytes)]
        .prop_filter("too short", move |payload| payload.len() >= least)
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        payload(1).prop_map(Pattern::Bytes),
        "[a-z]{0,5}|\\^\"[a-z]+\"|\\\\d\\{3\\}".prop_map(Pattern::Regex),
    ]
}

fn host() -> impl Strategy<Value = String> {
    "[a-z]{1,9}(\\.[a-z]{2})?"
}

fn tls() -> impl Strategy<Value = Tls> {
    let trust = prop_oneof![
        Just(Trust::System),
        Just(Trust::Anyone),
        path().prop_map(Trust::Authorities)
    ];
    (trust, option::of(host())).prop_map(|(trust, sni)| Tls { trust, sni })
}

prop_compose! {
    fn http()(
        tls in option::of(tls()),
        method in "GET|OPTIONS|X-[A-Z]{1,9}",
        path in "/[a-z0-9/?=%]{0,3}",
        host in option::of((host(), "(:80)?").prop_map(|(host, port)| host + &port)),
        headers in prop::collection::btree_map("x-[a-z0-9]{1,5}", "[a-zA-Z \"\\\\]{0,9}", 0..3),
        (low, span) in (100_u16..=599, 0_u16..=499),
        expect_body in option::of(pattern()),
    ) -> HttpProbe {
        HttpProbe {
            tls,
            method,
            path,
            host,
            headers: headers.into_iter().collect(),
            expect_status: (low, (low + span).min(599)),
            expect_body,
        }
    }
}

prop_compose! {
    fn dns()(
        query in "\\.|([a-z0-9_-]{1,9}\\.){0,3}[a-z]{1,3}\\.?",
        (query_type, expect_answer) in prop_oneof![
            (Just(Rtype::A), option::of(Just("192.0.2.1".to_owned()))),
            (Just(Rtype::AAAA), option::of(Just("2001:db8::1".to_owned()))),
            (Just(Rtype::TXT), option::of("[a-z \"\\\\é]{1,9}")),
            (Just(Rtype::from_int(65_280)), Just(None)),
        ],
        transport in one_of(),
        expect_rcode in prop::sample::select(&[Rcode::NOERROR, Rcode::NXDOMAIN, Rcode::REFUSED][..]),
    ) -> DnsProbe {
        DnsProbe { query: query.parse().unwrap(), query_type, transport, expect_rcode, expect_answer }
    }
}

prop_compose! {
    fn command()(
        program in "/[a-z/]{1,9}",
        arguments in vec("[a-z{} \"\\\\é\n]{0,9}", 0..3),
        env in prop::collection::btree_map("[A-Z_]{1,5}", "[a-z{} \"\\\\é\n]{0,9}", 0..3),
    ) -> CommandProbe {
        CommandProbe { program, arguments, env: env.into_iter().collect() }
    }
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        (payload(0), option::of(pattern())).prop_map(|(send, expect)| Probe::Tcp(TcpProbe { send, expect })),
        http().prop_map(Probe::Http),
        (payload(0), option::of(pattern())).prop_map(|(send, expect)| Probe::Udp(UdpProbe { send, expect })),
        dns().prop_map(Probe::Dns),
        (option::of(tls()), any::<String>(), option::of(host()))
            .prop_map(|(tls, service, host)| Probe::Grpc(GrpcProbe { tls, service, host })),
        command().prop_map(Probe::Command),
    ]
}

prop_compose! {
    fn health()(
        probe in probe().boxed(),
        port in 1_u16..,
        interval in duration(1),
        interval_down in duration(1),
        timeout in duration(1),
        thresholds in (1_u32..=1000, 1_u32..=1000),
        flap_limit in 0_u32..=1000,
        flap_window in duration(1),
    ) -> HealthCheck {
        HealthCheck {
            probe,
            via: Via::Address,
            port: Some(port),
            interval,
            interval_down,
            timeout,
            healthy_threshold: thresholds.0,
            unhealthy_threshold: thresholds.1,
            flap_limit,
            flap_window,
        }
    }
}

prop_compose! {
    /// Backends at distinct addresses, of which the odd ones have names.
    fn backends(v4: bool)(
        backends in vec((option::of(1_u16..), 0_u32..=65535, any::<bool>(), one_of()), 0..5),
    ) -> Vec<Backend> {
        let backend = |(number, (port, weight, backup, admin))| {
            let address = address(v4, 0, number);
            let name = if number % 2 == 0 { address_text(address, port) } else { format!("fs9.{number}_-") };
            Backend { name, address, port, weight, backup, admin, server_id: None }
        };
        backends.into_iter().enumerate().map(backend).collect()
    }
}

prop_compose! {
    fn quic()(layout in one_of(), server_id_length in 1_u8..=8) -> Quic {
        let server_id_length = if layout == QuicLayout::Katran { Quic::default().server_id_length } else { server_id_length };
        Quic { layout, server_id_length }
    }
}

prop_compose! {
    /// Pins and source lists of distinct prefixes.
    fn clients(v4: bool)(
        keys in vec(option::of("[a-z\"\\\\ é]{1,9}"), 0..4),
        sources in option::of((0_u8..9, 0_u8..9)),
    ) -> (Vec<Pin>, Option<Arc<Sources>>) {
        let prefix = |number| IpNet::new(address(v4, number, 0), if v4 { 16 } else { 48 }).unwrap();
        let pin = |(number, key): (u8, Option<String>)| Pin {
            prefix: prefix(number),
            target: key.map_or_else(|| PinTarget::Backend("pinned".to_owned()), PinTarget::Key),
        };
        let sources = sources.map(|(allow, deny)| Arc::new(Sources {
            allow: (0..allow).map(prefix).collect(),
            deny: (100..100 + deny).map(prefix).collect(),
        }));
        ((0..).zip(keys).map(pin).collect(), sources)
    }
}

prop_compose! {
    /// Addresses of both IP versions.
    fn source_addresses(net: u8)(v4 in 1_usize..5, v6 in 1_usize..5) -> Vec<IpAddr> {
        let of = |is_v4, count| (0..count).map(move |number| address(is_v4, net, number));
        of(true, v4).chain(of(false, v6)).collect()
    }
}

prop_compose! {
    fn service(number: usize, v4: bool)(
        (ports, protocol, forwarding, affinity) in
            (prop::collection::btree_set(1_u16.., 0..4), one_of(), one_of::<Forwarding>(), one_of()),
        (v4_bits, v6_bits, affinity_timeout, when_down) in (0_u8..=32, 0_u8..=128, duration(1), one_of()),
        (maglev_size, selection, tracking, slow_start) in
            (prop::sample::select(&[7_u32, 251, 65537, 655_373][..]), one_of(), one_of(), duration(0)),
        (panic_threshold, wake) in (0.0..=1.0, vec("[a-z{}\"\\\\ é\n]{1,9}", 0..3)),
        (health, passive, fail_timeout) in
            (option::of(health().boxed()), option::of((1_u32..=1000, 0.0..=1.0)), duration(1)),
        limits in option::of((1_u32..=10_000_000, 100_000_u32.., any::<(bool, bool)>(), (0_u8..=32, 0_u8..=128))),
        path in any::<bool>(),
        (source_addresses, mss) in (option::of(source_addresses(253)), option::of(28_u16..=65_495)),
        mut backends in backends(v4),
        (pins, sources) in clients(v4),
        quic in quic(),
    ) -> Service {
        let quic = (affinity == Affinity::QuicCid).then_some(quic);
        let protocol = if quic.is_some() { Protocol::Udp } else { protocol };
        if !forwarding.translates_ports() {
            for backend in &mut backends {
                if backend.name == backend.endpoint() {
                    backend.name = backend.address.to_string();
                }
                backend.port = None;
            }
        }
        if let Some(quic) = quic {
            // Addresses that end alike have no identity of their own.
            for (number, backend) in (1_u8..).zip(&mut backends) {
                let length = if quic.layout == QuicLayout::Katran { 4 } else { quic.server_id_length };
                let mut id = vec![0; usize::from(length)];
                id[0] = 0xf0 + number;
                backend.server_id = ServerId::new(id);
            }
        }
        backends.push(Backend {
            name: "pinned".to_owned(),
            address: address(v4, 1, 0),
            port: None,
            weight: 1,
            backup: false,
            admin: Admin::Active,
            server_id: None,
        });
        // To choose by remembered flows takes all of them.
        let tracking = if selection == Selection::LeastFlows { Tracking::Full } else { tracking };
        Service {
            name: format!("service-{number}"),
            address: address(v4, 255, number),
            ports: ports.into_iter().collect(),
            protocol,
            forwarding,
            source_addresses: source_addresses.unwrap_or_default(),
            mss: mss.filter(|_| protocol == Protocol::Tcp),
            affinity,
            affinity_prefix: PrefixLengths { v4: v4_bits, v6: v6_bits },
            affinity_timeout,
            quic: quic.unwrap_or_default(),
            when_down,
            maglev_size: TableSize::new(maglev_size).unwrap(),
            selection,
            tracking,
            slow_start,
            panic_threshold,
            wake,
            health: health.map(|health| HealthCheck {
                via: match health.probe {
                    Probe::Command(_) => Via::Address,
                    _ if forwarding.replies_return() || !path => Via::Address,
                    _ => Via::Path,
                },
                ..health
            }),
            passive: passive
                .filter(|_| forwarding.replies_return() && tracking == Tracking::Full)
                .map(|(max_fails, max_ejected)| Passive { max_fails, fail_timeout, max_ejected }),
            limits: limits
                .filter(|_| protocol == Protocol::Tcp || tracking == Tracking::Full)
                .map(|(rate, burst, (per_client, in_all), (v4, v6))| Limits {
                    new_flows_per_client: (per_client || !in_all).then_some(Rate { rate, burst }),
                    new_flows: in_all.then_some(Rate { rate: 7, burst: rate }),
                    client_prefix: PrefixLengths { v4, v6 },
                }),
            backends,
            pins,
            sources,
        }
    }
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    vec(any::<bool>(), 0..4).prop_flat_map(|families| {
        let services = families.into_iter().enumerate();
        services.map(|(number, v4)| service(number, v4)).collect::<Vec<_>>()
    })
}

prop_compose! {
    fn config()(
        interfaces in prop::collection::btree_set("[a-z\"\\\\é][a-z0-9.]{0,9}", 1..4),
        (source_addresses, source_ports, max_mappings) in (source_addresses(254), any::<(u16, u16)>(), 1_u32..=1 << 27),
        (xdp_mode, pin_path, max_flows, max_clients) in (one_of(), path(), 1_u32..=1 << 27, 1_u32..=1 << 27),
        (max_services, max_backends) in (10_u32..=1 << 16, 100_u32..=1 << 20),
        (v4, v6) in any::<(bool, bool)>(),
        (socket, state, listen) in (path(), path(), any::<(IpAddr, u16)>()),
        max_concurrent in 1_usize..=65_536,
        services in services(),
    ) -> Config {
        Config {
            dataplane: Dataplane {
                interfaces: interfaces.into_iter().collect(),
                xdp_mode,
                pin_path,
                max_flows,
                max_clients,
                max_services,
                max_backends,
                tunnel_source: TunnelSource {
                    v4: v4.then_some(Ipv4Addr::new(10, 0, 0, 1)),
                    v6: v6.then_some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
                },
                source_addresses,
                source_ports: (source_ports.0.min(source_ports.1).max(1), source_ports.0.max(source_ports.1).max(1)),
                max_mappings,
            },
            control: Control { socket, state },
            metrics: Metrics { listen: listen.into() },
            health: Probing { max_concurrent },
            services,
        }
    }
}

proptest! {
    #[test]
    fn an_exported_configuration_reads_back_as_itself(config in config()) {
        let text = export(&config);
        let loaded = parse_all(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(loaded.config, config);
    }
}

#[test]
fn an_exported_file_says_every_default() {
    let text = r#"
        version = 1
        dataplane.interfaces = ["eth0"]
        [[service]]
        name = "web"
        address = "192.0.2.10"
        ports = [80, 443]
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
    let exported = export(&parse_all(text).unwrap().config);
    let bare = |text: &str| -> Vec<String> {
        let content = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
        content
            .map(|line| line.split_whitespace().collect::<String>())
            .filter(|line| !line.is_empty())
            .collect()
    };
    assert_eq!(bare(&exported), bare(FULL_EXAMPLE));
}

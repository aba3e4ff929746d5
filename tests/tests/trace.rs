//! Decisions about packets, as `balancer trace` tells them, against what the packets' ends have seen.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Checksums, Connection, Farm, HttpServer, Namespace, Network, Service, Tracer, UdpClient,
    eventually, get_from, ping,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const BACKENDS: u8 = 3;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);
const EMPTY: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 81);

fn run(network: &Network) -> (Farm<HttpServer>, Balancer<'_>) {
    let farm = Farm::http(network, 8080);
    let web = Service::tcp("web", Network::VIP, &[80]).backends(BACKENDS, 8080);
    let empty = Service::tcp("empty", Network::VIP, &[81]);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{web}{empty}"));
    (farm, balancer)
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(Network::CLIENT.into(), port)
}

fn request(network: &Network, port: u16) -> String {
    let reply: Value = get_from(&network.client, client(port), VIP, "/").unwrap().json();
    reply["server"].as_str().unwrap().to_owned()
}

/// Distinct values of a key, in the order of decisions.
fn values<'d>(decisions: &[&'d Value], key: &str) -> BTreeSet<&'d str> {
    decisions.iter().filter_map(|decision| decision[key].as_str()).collect()
}

#[test]
fn each_packet_of_a_connection_is_told_with_its_backend_and_why() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_farm, balancer) = run(&network);
    let tracer = Tracer::start(&balancer, &["web"]);
    let server = request(&network, 40_000);
    let decisions = tracer.told(8);

    let of = |fate: &str| -> Vec<&Value> { decisions.iter().filter(|decision| decision["fate"] == fate).collect() };
    let (forwarded, returned) = (of("forwarded"), of("returned"));
    assert_eq!(forwarded.len() + returned.len(), decisions.len(), "{decisions:?}");
    for decisions in [&forwarded, &returned] {
        assert_eq!(values(decisions, "service"), BTreeSet::from(["web"]));
        assert_eq!(values(decisions, "backend"), BTreeSet::from([&*server]));
    }
    let first = forwarded[0];
    assert_eq!((&first["flags"], &first["reason"]), (&"S".into(), &"maglev".into()));
    assert_eq!(first["source"], client(40_000).to_string());
    assert_eq!(first["destination"], VIP.to_string());
    assert!(forwarded[1..].iter().all(|decision| decision["reason"] == "flow"));
    assert_eq!(returned[0]["flags"], "SA");
    assert_eq!(values(&forwarded, "interface").len(), 1);
    assert_ne!(values(&forwarded, "interface"), values(&returned, "interface"));
    tracer.end();
}

#[test]
fn only_what_is_asked_for_is_told() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_farm, balancer) = run(&network);
    let drops = Tracer::start(&balancer, &["--reason", "no_backend"]);
    request(&network, 40_000);
    let _refused = begin_connection(&network.client, client(40_001), EMPTY);
    let told = drops.told(1);
    assert!(
        told.iter().all(|decision| decision["reason"] == "no_backend"),
        "{told:?}"
    );
    assert!(told.iter().all(|decision| decision["fate"] == "dropped"), "{told:?}");
    assert!(told.iter().all(|decision| decision["service"] == "empty"), "{told:?}");
    drops.end();

    let own = Value::from(client(40_003).to_string());
    let one = Tracer::start(&balancer, &["--client", &Network::CLIENT.to_string()]);
    let server = request(&network, 40_003);
    assert!(one.told(8).iter().all(|decision| {
        decision["backend"] == *server && [&decision["source"], &decision["destination"]].contains(&&own)
    }));
    one.end();

    let nobody = Tracer::start(&balancer, &["--client", "203.0.113.0/24"]);
    request(&network, 40_004);
    assert!(nobody.told(0).is_empty());
    nobody.end();
}

#[test]
fn connections_live_through_the_beginning_and_the_end_of_a_trace() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_farm, balancer) = run(&network);
    let mut connection = Connection::open(&network.client, Some(client(40_000)), VIP).unwrap();
    let mut ask = || -> Value { connection.get("/").unwrap().json() };
    let before = ask();
    let tracer = Tracer::start(&balancer, &[]);
    assert_eq!(ask(), before);
    let second = balancer.command(&["trace"]);
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("somebody follows a trace already"), "{message}");
    tracer.end();
    assert_eq!(ask(), before);
}

#[test]
fn a_daemon_that_is_killed_during_a_trace_leaves_a_data_plane_that_forwards() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_farm, mut balancer) = run(&network);
    // It ends when the daemon is gone, and not before.
    let tracer = Tracer::start(&balancer, &[]).into_process();
    balancer.kill();
    drop(tracer);
    request(&network, 40_000);
    balancer.run();
    request(&network, 40_001);
    let tracer = Tracer::start(&balancer, &[]);
    request(&network, 40_002);
    tracer.told(8);
    tracer.end();
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_farm, balancer) = run(&network);
    for (arguments, code, message) in [
        (&["nothing"][..], 5, "there is no service nothing: there are web, empty"),
        (&["web", "--backend", "b9"], 5, "b9"),
        (&["--reason", "because"], 5, "there is no drop reason because"),
        (&["--backend", "b1"], 2, "SERVICE"),
        (&["--client", "somebody"], 2, "write an address or a prefix"),
    ] {
        let output = balancer.command(&[&["trace"], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
}

/// Real packets of real hosts, as they come and as they leave, in every way of forwarding that changes them, and what scapy
/// takes them for.
#[test]
fn scapy_agrees_with_every_checksum_of_captured_packets() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _http = Farm::http(&network, 8080);
    let _udp = Farm::udp(&network, 8080);
    let vips = [IpAddr::from(Network::VIP), Network::VIP6.into()];
    let services: String = vips.into_iter().map(services_at).collect();
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    let capture = balancer.directory().join("capture.pcapng");
    let tracer = Tracer::start(&balancer, &["--pcap", capture.to_str().unwrap()]);
    for vip in vips {
        let client = |port| SocketAddr::new(Network::client_of(vip), port);
        for (number, (_, port)) in (0..).zip(WAYS) {
            let server = SocketAddr::new(vip, port);
            let datagrams = UdpClient::new(&network.client, client(41_000 + number)).unwrap();
            datagrams.send(server, b"who?").unwrap();
            datagrams.send(server, &[0x5a; 1_001]).unwrap();
            let _connecting = begin_connection(&network.client, client(42_000 + number), server);
        }
        for port in [NAT, FULL_NAT] {
            let mut connection = Connection::open(&network.client, None, SocketAddr::new(vip, port)).unwrap();
            assert_eq!(connection.get("/bytes/100000").unwrap().status, 200);
        }
        ping(&network.client, vip).unwrap();
    }
    // The last packets may be on their way yet.
    eventually("pings and the ends of the connections are captured", || {
        let told = tracer.told(0);
        let count = |key: &str, value| told.iter().filter(|decision| decision[key] == value).count();
        (count("flags", "FA") >= 8 && count("fate", "answered") >= 2).then_some(())
    });
    let told = tracer.told(0).len();
    tracer.end();
    let found = Checksums::of(&capture);
    assert!(found.wrong.is_empty(), "of {}: {:#?}", found.packets, found.wrong);
    assert!(
        found.packets >= 2 * told,
        "each packet as it came and as it left: {} of {told}",
        found.packets
    );
    for layer in ["IP", "TCP", "UDP", "ICMP", "ICMPv6 Echo Reply"] {
        assert!(found.checksums.contains_key(layer), "no {layer}: {:?}", found.checksums);
    }
}

const NAT: u16 = 80;
const FULL_NAT: u16 = 81;
const WAYS: [(&str, u16); 5] = [
    ("nat", NAT),
    ("full-nat", FULL_NAT),
    ("dsr", 82),
    ("ipip", 83),
    ("gue", 84),
];

/// A service for each way of forwarding, by TCP and by UDP. Tunnels are over the other IP version.
fn services_at(vip: IpAddr) -> String {
    let version = if vip.is_ipv4() { 4 } else { 6 };
    let other = if vip.is_ipv4() {
        Network::VIP6.into()
    } else {
        Network::VIP.into()
    };
    let mut services = String::new();
    for (forwarding, port) in WAYS {
        for protocol in ["tcp", "udp"] {
            let service = Service::new(&format!("{forwarding}-{protocol}-{version}"), protocol, vip, &[port]);
            let service = service.forwarding(forwarding);
            let service = match forwarding {
                "nat" => service.backends(BACKENDS, 8080),
                "full-nat" => service
                    .key(&format!("source_addresses = {OWN:?}"))
                    .backends(BACKENDS, 8080),
                "dsr" => service.backends(BACKENDS, None),
                _ => service.backend("far", &Network::backend_of(other, 0).to_string()),
            };
            services += &service.to_string();
        }
    }
    services
}

/// The balancer's addresses towards the backends.
const OWN: [&str; 2] = ["10.2.0.1", "fd00:2::1"];

/// Sends the first segment of a connection, and waits for nothing.
fn begin_connection(host: &Namespace, client: SocketAddr, server: SocketAddr) -> Socket {
    let socket = host
        .enter(|| Socket::new(Domain::for_address(server), Type::STREAM, None))
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&client.into()).unwrap();
    let error = socket.connect(&server.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
    socket
}

//! Commands and metrics agree with each other and with what was sent.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, UdpClient, get_from};
use serde_json::Value;

const BACKENDS: u8 = 3;

/// Length of the IP and UDP headers.
fn headers(vip: IpAddr) -> usize {
    if vip.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

/// What should have been counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Traffic {
    packets: usize,
    bytes: usize,
    new_flows: usize,
    reply_packets: usize,
    reply_bytes: usize,
}

const KEYS: [&str; 5] = ["packets", "bytes", "new_flows", "reply_packets", "reply_bytes"];

impl Traffic {
    fn fields(self) -> [usize; 5] {
        [
            self.packets,
            self.bytes,
            self.new_flows,
            self.reply_packets,
            self.reply_bytes,
        ]
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.new_flows += other.new_flows;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }

    /// Asserts that a row of `service list` or `backend list`, and the metrics with these labels, say the same.
    fn assert_shown(self, balancer: &Balancer<'_>, row: &Value, of: &str, labels: &str) {
        for (key, count) in KEYS.into_iter().zip(self.fields()) {
            assert_eq!(row[key], count, "{key} of {row}");
            let sample = format!("balancer_{of}_{key}_total{{{labels}}}");
            assert_eq!(balancer.metric(&sample), count as u64, "{sample}");
        }
    }
}

/// Sends two datagrams of different length from each of 25 ports, and sums up by backend what passed.
fn exchange_datagrams(network: &Network, vip: IpAddr) -> HashMap<String, Traffic> {
    let mut by_backend: HashMap<String, Traffic> = HashMap::new();
    for port in 40_000..40_025 {
        let client = SocketAddr::new(Network::client_of(vip), port);
        let client = UdpClient::new(&network.client, client).unwrap();
        for (number, length) in [10, 1_000].into_iter().enumerate() {
            let answer = client.ask(SocketAddr::new(vip, 53), &vec![b'x'; length]).unwrap();
            let (name, _) = answer.split_once(' ').unwrap();
            by_backend.entry(name.to_owned()).or_default().add(Traffic {
                packets: 1,
                bytes: headers(vip) + length,
                new_flows: usize::from(number == 0),
                reply_packets: 1,
                reply_bytes: headers(vip) + answer.len(),
            });
        }
    }
    by_backend
}

#[test]
fn packets_bytes_and_flows_are_counted_exactly() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::udp(&network, 5353);
    let four = Service::udp("four", Network::VIP, &[53]).backends(BACKENDS, 5353);
    let six = Service::udp("six", Network::VIP6, &[53]).backends(BACKENDS, 5353);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &format!("{four}{six}"));

    let mut flows = 0;
    for (service, vip) in [("four", IpAddr::from(Network::VIP)), ("six", Network::VIP6.into())] {
        let by_backend = exchange_datagrams(&network, vip);
        let mut total = Traffic::default();
        let backends: Vec<Value> = balancer.json(&["backend", "list", service]);
        for row in &backends {
            let name = row["name"].as_str().unwrap();
            let expected = by_backend.get(name).copied().unwrap_or_default();
            total.add(expected);
            let labels = format!("backend=\"{name}\",service=\"{service}\"");
            expected.assert_shown(&balancer, row, "backend", &labels);
            assert_eq!(row["flows"], expected.new_flows);
            let gauge = format!("balancer_backend_flows{{{labels}}}");
            assert_eq!(balancer.metric(&gauge), expected.new_flows as u64);
        }
        assert_eq!((total.packets, total.new_flows), (50, 25));
        let services: Vec<Value> = balancer.json(&["service", "list"]);
        let row = services.iter().find(|row| row["name"] == service).unwrap();
        total.assert_shown(&balancer, row, "service", &format!("service=\"{service}\""));
        flows += total.new_flows;
    }
    let status: Value = balancer.json(&["status"]);
    assert_eq!(status["dataplane"]["flows"], flows);
    assert_eq!(balancer.metric("balancer_flow_table_entries"), flows as u64);
    assert_eq!(
        balancer.metric("balancer_flow_table_capacity"),
        status["dataplane"]["max_flows"].as_u64().unwrap()
    );
    assert_eq!(balancer.metric("balancer_flow_table_evictions_total"), 0);
    assert_eq!(drops(&balancer), HashMap::new());
}

#[test]
fn each_of_50_connections_is_a_new_flow_once() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80]).backends(BACKENDS, 8080);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    let mut answered: HashMap<String, u32> = HashMap::new();
    for port in 40_000..40_050 {
        let client = SocketAddr::new(Network::CLIENT.into(), port);
        let vip = SocketAddr::new(Network::VIP.into(), 80);
        let reply: Value = get_from(&network.client, client, vip, "/").unwrap().json();
        *answered
            .entry(reply["server"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(balancer.metric("balancer_service_new_flows_total{service=\"web\"}"), 50);
    for row in balancer.json::<Vec<Value>>(&["backend", "list"]) {
        let name = row["name"].as_str().unwrap();
        assert_eq!(row["new_flows"], answered[name], "{name}");
        assert_eq!(row["flows"], answered[name], "{name}");
    }
    assert_eq!(drops(&balancer), HashMap::new());
}

#[test]
fn each_dropped_packet_is_counted_by_its_reason() {
    let network = Network::new(Arms::Two, 1);
    let _servers = Farm::udp(&network, 5353);
    let service = Service::udp("dns", Network::VIP, &[53]).backends(1, 5353);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
    let vip = SocketAddr::new(Network::VIP.into(), 53);
    let client = UdpClient::new(&network.client, SocketAddr::new(Network::CLIENT.into(), 0)).unwrap();

    client.socket().set_ttl(1).unwrap();
    for _ in 0..3 {
        client.send(vip, b"too far").unwrap();
    }
    client.socket().set_ttl(64).unwrap();
    // In two fragments, as it is longer than the MTU.
    client.ask(vip, &[0; 2_000]).unwrap();
    // Packets keep their order, so all the others have been dealt with when this one is answered.
    client.ask(vip, b"who?").unwrap();
    assert_eq!(drops(&balancer), HashMap::from([("ttl_expired".to_owned(), 3)]));
    assert_eq!(balancer.metric("balancer_service_packets_total{service=\"dns\"}"), 3);
}

/// The reasons for which packets have been dropped, and how many.
fn drops(balancer: &Balancer<'_>) -> HashMap<String, u64> {
    let metrics = balancer.scrape("/metrics").unwrap().text();
    let samples = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("balancer_drops_total{reason=\""));
    let counts = samples.map(|sample| {
        let (reason, count) = sample.split_once("\"} ").unwrap();
        (reason.to_owned(), count.parse().unwrap())
    });
    counts.filter(|&(_, count)| count > 0).collect()
}

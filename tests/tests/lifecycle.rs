//! The data plane stays when the daemon goes, and goes when it is told to.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use balancer_tests::lab::{
    Arms, Balancer, Connection, Farm, HttpServer, Network, Process, Service, eventually, get, program, requests_during,
};
use rustix::process::Signal;
use serde_json::Value;

const BACKENDS: u8 = 3;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);

/// A network with a service, and its servers.
fn network() -> (Network, Farm<HttpServer>) {
    let network = Network::new(Arms::Two, BACKENDS);
    let servers = Farm::http(&network, 8080);
    (network, servers)
}

fn start(network: &Network) -> Balancer<'_> {
    let service = Service::tcp("web", Network::VIP, &[80]).backends(BACKENDS, 8080);
    Balancer::start(&network.balancer, &network.interfaces, &service.to_string())
}

/// Connections of clients, each with the backend that it reached.
struct Clients(Vec<(Connection, String)>);

impl Clients {
    fn connect(network: &Network) -> Self {
        let connect = || {
            let mut connection = Connection::open(&network.client, None, VIP).unwrap();
            let backend = who(&mut connection);
            (connection, backend)
        };
        Self(std::iter::repeat_with(connect).take(20).collect())
    }

    fn assert_still_served(&mut self) {
        for (connection, backend) in &mut self.0 {
            assert_eq!(who(connection), *backend);
        }
    }
}

fn who(connection: &mut Connection) -> String {
    let reply: Value = connection.get("/").unwrap().json();
    reply["server"].as_str().unwrap().to_owned()
}

fn assert_gone(network: &Network, pins: &Path) {
    for interface in &network.interfaces {
        assert_eq!(network.balancer.xdp(interface), None, "{interface}");
    }
    assert!(!pins.exists(), "{} is left", pins.display());
    // The host has the VIP, and nobody listens there.
    assert!(get(&network.client, VIP, "/").is_err());
}

fn connections_outlive_a_daemon_that_ends_by(signal: Signal) {
    let (network, _servers) = network();
    let mut balancer = start(&network);
    let mut clients = Clients::connect(&network);
    let programs: Vec<_> = network
        .interfaces
        .iter()
        .map(|name| network.balancer.xdp(name))
        .collect();

    let status = balancer.end(signal);
    assert_eq!(status.success(), signal != Signal::KILL, "{status}");
    assert_eq!(balancer.command(&["status"]).status.code(), Some(4));
    let now: Vec<_> = network
        .interfaces
        .iter()
        .map(|name| network.balancer.xdp(name))
        .collect();
    assert_eq!(now, programs);
    clients.assert_still_served();
    let mut later = Clients::connect(&network);

    let ((), answers) = requests_during(&network.client, VIP, || balancer.run());
    for answer in answers {
        answer.unwrap();
    }
    clients.assert_still_served();
    later.assert_still_served();
    // Counters go on, and every connection was one flow.
    let flows = balancer.metric("balancer_service_new_flows_total{service=\"web\"}");
    assert!(flows >= 40, "{flows}");
    assert_eq!(balancer.metric("balancer_flow_table_entries"), flows);
}

#[test]
fn connections_outlive_a_terminated_daemon_and_are_kept_by_the_next() {
    connections_outlive_a_daemon_that_ends_by(Signal::TERM);
}

#[test]
fn connections_outlive_an_interrupted_daemon_and_are_kept_by_the_next() {
    connections_outlive_a_daemon_that_ends_by(Signal::INT);
}

#[test]
fn connections_outlive_a_killed_daemon_and_are_kept_by_the_next() {
    connections_outlive_a_daemon_that_ends_by(Signal::KILL);
}

#[test]
fn detaching_ends_the_daemon_and_leaves_nothing_behind() {
    let (network, _servers) = network();
    let mut balancer = start(&network);
    get(&network.client, VIP, "/").unwrap();
    let output = balancer.command(&["detach"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"detached from eth0, eth1\n");
    assert!(balancer.wait().success());
    assert_gone(&network, &balancer.settings.pin_path);

    // It can be had again.
    balancer.run();
    get(&network.client, VIP, "/").unwrap();
}

#[test]
fn detaching_without_a_daemon_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (network, _servers) = network();
        let mut balancer = start(&network);
        balancer.end(signal);
        get(&network.client, VIP, "/").unwrap();
        let output = balancer.command(&["detach"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"detached from eth0, eth1\n");
        assert_gone(&network, &balancer.settings.pin_path);
    }
}

#[test]
fn an_interface_that_the_configuration_no_longer_names_is_detached() {
    let (network, _servers) = network();
    let mut balancer = start(&network);
    balancer.stop();
    balancer.settings.interfaces.truncate(1);
    balancer.configure("");
    balancer.run();
    assert!(network.balancer.xdp("eth0").is_some());
    assert_eq!(network.balancer.xdp("eth1"), None);
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_daemon() {
    let (network, _servers) = network();
    let balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    let mut command = network.balancer.command("sh");
    command
        .args(["-c", r#"exec "$0" run --config "$1" 2>/dev/full"#])
        .args([program("balancer"), balancer.config()]);
    let mut daemon = Process::start(&mut command, &balancer.log());
    eventually("the daemon answers", || {
        assert_eq!(daemon.try_wait(), None);
        balancer.command(&["status"]).status.success().then_some(())
    });
}

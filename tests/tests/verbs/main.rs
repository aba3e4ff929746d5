//! What operators change at run time, under traffic.

mod backends;
mod files;
mod memory;
mod standing;

use std::{collections::HashSet, io, net::SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Farm, HttpServer, Network, Reply, Service, get};
use serde_json::{Value, json};

const PORT: u16 = 8080;

fn vip() -> SocketAddr {
    SocketAddr::new(Network::VIP.into(), 80)
}

/// A network of `count` backends with HTTP servers.
fn farm(count: u8) -> (Network, Farm<HttpServer>) {
    let network = Network::new(Arms::One, count);
    let servers = Farm::http(&network, PORT);
    (network, servers)
}

fn web(backends: u8) -> Service {
    Service::tcp("web", Network::VIP, &[80]).backends(backends, PORT)
}

/// A quick health check.
const HEALTH: &str = "kind = \"http\"\npath = \"/health\"\ninterval = \"50ms\"\ntimeout = \"1s\"\nhealthy_threshold = 1\n\
                      unhealthy_threshold = 1";

fn start<'n>(network: &'n Network, services: &str) -> Balancer<'n> {
    Balancer::start(&network.balancer, &network.interfaces, services)
}

/// What came of a command: its exit code, what it printed, what it complained about.
fn run(balancer: &Balancer<'_>, command: &str) -> (i32, String, String) {
    let arguments: Vec<_> = command.split(' ').collect();
    let output = balancer.command(&arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Runs a command that must succeed; returns what it printed.
fn succeed(balancer: &Balancer<'_>, command: &str) -> String {
    let (code, printed, complaint) = run(balancer, command);
    assert_eq!(code, 0, "{command}: {complaint}");
    printed
}

/// The backends of `web` as [name, admin, weight], in their order.
fn backends(balancer: &Balancer<'_>) -> Value {
    let backends: Vec<Value> = balancer.json(&["backend", "list", "web"]);
    backends
        .iter()
        .map(|backend| json!([backend["name"], backend["admin"], backend["weight"]]))
        .collect()
}

/// A field of a backend of `web`.
fn of_backend(balancer: &Balancer<'_>, name: &str, field: &str) -> Value {
    let backends: Vec<Value> = balancer.json(&["backend", "list", "web"]);
    let backend = backends.iter().find(|backend| backend["name"] == name);
    backend.unwrap_or_else(|| panic!("no backend {name}"))[field].clone()
}

/// The share of new clients that a backend of `web` gets.
fn share(balancer: &Balancer<'_>, name: &str) -> f64 {
    of_backend(balancer, name, "share").as_f64().unwrap()
}

fn server(reply: &io::Result<Reply>) -> String {
    let reply = reply.as_ref().expect("every request is answered");
    assert_eq!(reply.status, 200);
    let body: Value = reply.json();
    body["server"].as_str().unwrap().to_owned()
}

/// The servers that answer `count` new clients.
fn servers(network: &Network, count: u32) -> HashSet<String> {
    (0..count).map(|_| server(&get(&network.client, vip(), "/"))).collect()
}

//! What is remembered: listed, forgotten, given to another backend.

use std::net::SocketAddr;

use balancer_tests::lab::{Arms, Connection, Farm, Network, Service, UdpClient};
use serde_json::{Value, json};

use crate::{PORT, farm, run, server, start, succeed, vip, web};

#[test]
fn remembered_flows_are_listed_counted_and_forgotten() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    let mut connections: Vec<_> = (0..10)
        .map(|number| {
            let client = SocketAddr::new(Network::CLIENT.into(), 50_000 + number);
            let mut connection = Connection::open(&network.client, Some(client), vip()).unwrap();
            let name = server(&connection.get("/"));
            (client, connection, name)
        })
        .collect();
    let flows: Vec<Value> = balancer.json(&["flows", "list"]);
    let expected: Vec<_> = connections
        .iter()
        .map(|(client, _, name)| {
            json!({"service": "web", "client": client.to_string(), "vip": vip().to_string(), "backend": name})
        })
        .collect();
    assert_eq!(flows, expected);

    let on = |name: &str| connections.iter().filter(|(_, _, of)| of == name).count();
    let (on_b0, on_b1) = (on("b0"), on("b1"));
    let count = |arguments: &[&str]| -> Value {
        let count: Value = balancer.json(&[&["flows", "count"], arguments].concat());
        count["flows"].clone()
    };
    let first = connections[0].0.to_string();
    assert_eq!(count(&[]), 10);
    assert_eq!(count(&["web", "--backend", "b0"]), on_b0);
    assert_eq!(count(&["--backend", "b1"]), on_b1);
    assert_eq!(count(&["--client", &first]), 1);
    assert_eq!(count(&["--client", "10.9.9.9"]), 0);
    let (code, ..) = run(&balancer, "flows count web --backend b9");
    assert_eq!(code, 5);
    let (code, _, complaint) = run(&balancer, "flows list --limit 3");
    assert_eq!(code, 0);
    assert_eq!(complaint, "3 of 10 flows; --limit shows more");

    succeed(&balancer, &format!("flows flush web --client {first}"));
    assert_eq!(count(&[]), 9);
    assert_eq!(succeed(&balancer, "flows flush"), "forgot 9 flows");
    assert_eq!(count(&[]), 0);
    assert_eq!(balancer.metric("balancer_flow_table_evictions_total"), 0);
    // The table says the same as before, so nobody notices.
    for (_, connection, name) in &mut connections {
        assert_eq!(server(&connection.get("/")), *name);
    }
}

#[test]
fn udp_clients_of_one_backend_can_be_given_to_another() {
    let network = Network::new(Arms::One, 2);
    let _servers = Farm::udp(&network, PORT);
    let dns = Service::udp("dns", Network::VIP, &[80]).backends(2, PORT);
    let balancer = start(&network, &dns.to_string());
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let address = SocketAddr::new(Network::CLIENT.into(), 50_000 + number);
            UdpClient::new(&network.client, address).unwrap()
        })
        .collect();
    let answers = || -> Vec<String> {
        let name = |client: &UdpClient| {
            let answer = client.ask(vip(), b"who?").unwrap();
            answer.split(' ').next().unwrap().to_owned()
        };
        clients.iter().map(name).collect()
    };
    let before = answers();
    let on_b0 = before.iter().filter(|name| *name == "b0").count();
    assert!((1..10).contains(&on_b0), "{before:?}");
    let said = succeed(&balancer, "backend migrate dns b0 b1");
    let noun = if on_b0 == 1 { "flow" } else { "flows" };
    assert!(said.ends_with(&format!("now: {on_b0} live {noun} moved")), "{said}");
    assert_eq!(answers(), vec!["b1"; 10]);
    let again = succeed(&balancer, "backend migrate dns b0 b1");
    assert!(again.ends_with(": 0 live flows moved"), "{again}");
    assert!(
        !balancer.settings.state.join("state.json").exists(),
        "the order is carried out"
    );
}

#[test]
fn tcp_connections_stay_with_their_backend_unless_they_are_to_move_too() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    let mut connection = Connection::open(&network.client, None, vip()).unwrap();
    let (from, to) = match &*server(&connection.get("/")) {
        "b0" => ("b0", "b1"),
        _ => ("b1", "b0"),
    };
    let said = succeed(&balancer, &format!("backend migrate web {from} {to}"));
    assert!(
        said.ends_with("TCP connections that are open stay where they are (--flows moves them too)"),
        "{said}"
    );
    assert_eq!(server(&connection.get("/")), from);
    let said = succeed(&balancer, &format!("backend migrate web {from} {to} --flows"));
    assert!(said.ends_with("1 live flow moved"), "{said}");
    // The other backend does not know the connection.
    connection.get("/").unwrap_err();
}

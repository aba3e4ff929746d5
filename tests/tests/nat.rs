//! Real clients and servers behind `forwarding = "nat"`.

use std::{
    collections::HashMap,
    iter,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, HttpServer, Network, get_from};
use serde_json::Value;

const BACKENDS: u8 = 3;

fn service(name: &str, vip: IpAddr, protocol: &str, backends: impl Iterator<Item = SocketAddr>) -> String {
    let service =
        format!("[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = [80]\nprotocol = \"{protocol}\"\n");
    let backends = backends
        .enumerate()
        .map(|(number, backend)| format!("[[service.backend]]\nname = \"b{number}\"\naddress = \"{backend}\"\n"));
    iter::once(service).chain(backends).collect()
}

#[test]
fn http_reaches_every_backend_from_the_clients_own_address_and_lookup_names_it() {
    let network = Network::new(Arms::Two, BACKENDS);
    let directory = tempfile::tempdir().unwrap();
    let _servers: Vec<_> = (0..BACKENDS)
        .map(|number| {
            let host = &network.backends[usize::from(number)];
            HttpServer::start(
                host,
                &format!("b{number}"),
                Network::backend(number).into(),
                8080,
                &directory.path().join("log"),
            )
        })
        .collect();
    let vip = IpAddr::from(Network::VIP);
    let services = service(
        "web",
        vip,
        "tcp",
        (0..BACKENDS).map(|number| SocketAddr::new(Network::backend(number).into(), 8080)),
    );
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    let mut answered: HashMap<String, u32> = HashMap::new();
    for port in 40_000..40_060 {
        let client = SocketAddr::new(Network::CLIENT.into(), port);
        let reply = get_from(&network.client, client, SocketAddr::new(vip, 80), "/").unwrap();
        let reply: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply["client"], client.to_string());
        let lookup: Value = balancer.json(&["lookup", "web", &client.to_string()]);
        assert_eq!(lookup["backend"], reply["server"]);
        *answered
            .entry(reply["server"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    println!("{answered:?}");
    for c in ["status", "service list", "backend list"] {
        let o = balancer.command(&c.split(' ').collect::<Vec<_>>());
        println!(
            "{}{}",
            String::from_utf8_lossy(&o.stdout),
            String::from_utf8_lossy(&o.stderr)
        );
    }
    assert_eq!(answered.len(), 3);
}

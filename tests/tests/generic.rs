//! Generic mode: the program runs on the socket buffer, for drivers without native XDP.

use std::net::{IpAddr, SocketAddr};

use balancer_tests::lab::{Arms, Balancer, Connection, Farm, Network, Service, get};
use serde_json::Value;

fn both_vips_answer_in_generic_mode(arms: Arms) {
    let network = Network::new(arms, 2);
    let _servers = Farm::http(&network, 8080);
    let four = Service::tcp("four", Network::VIP, &[80]).backends(2, 8080);
    let six = Service::tcp("six", Network::VIP6, &[80]).backends(2, 8080);
    let services = format!("{four}{six}");
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &services);
    balancer.settings.xdp_mode = "generic";
    balancer.configure(&services);
    balancer.run();

    let status: Value = balancer.json(&["status"]);
    for (number, name) in network.interfaces.iter().enumerate() {
        let program = network.balancer.xdp(name).unwrap();
        assert!(program.generic, "{name}");
        let shown = &status["dataplane"]["interfaces"][number];
        assert_eq!(shown["name"], *name);
        assert_eq!(shown["mode"], "generic");
        assert_eq!(shown["program_id"], program.id);
    }
    for vip in [IpAddr::from(Network::VIP), Network::VIP6.into()] {
        let vip = SocketAddr::new(vip, 80);
        for _ in 0..20 {
            assert_eq!(get(&network.client, vip, "/").unwrap().status, 200);
        }
        let mut connection = Connection::open(&network.client, None, vip).unwrap();
        let large = connection.get("/bytes/1000000").unwrap();
        assert_eq!(large.body.len(), 1_000_000);
    }
}

#[test]
fn both_vips_answer_in_generic_mode_with_one_arm() {
    both_vips_answer_in_generic_mode(Arms::One);
}

#[test]
fn both_vips_answer_in_generic_mode_with_two_arms() {
    both_vips_answer_in_generic_mode(Arms::Two);
}

#[test]
fn the_mode_can_be_changed_by_a_restart() {
    let network = Network::new(Arms::Two, 1);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80]).backends(1, 8080).to_string();
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &service);
    for (mode, generic) in [("native", false), ("generic", true), ("auto", true), ("native", false)] {
        balancer.settings.xdp_mode = mode;
        balancer.configure(&service);
        balancer.run();
        for name in &network.interfaces {
            assert_eq!(network.balancer.xdp(name).unwrap().generic, generic, "{mode} on {name}");
        }
        get(&network.client, SocketAddr::from((Network::VIP, 80)), "/").unwrap();
        balancer.stop();
    }
}

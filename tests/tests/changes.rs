//! What changes do to traffic that is under way: nothing.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use balancer::{
    control::protocol::{Request, Response},
    health::Health,
};
use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, Site, Toll, eventually, get_from, put, under_load};
use rustix::process::Signal;
use serde_json::Value;

/// How often the health of one backend changes in a row.
const FLAPS: usize = 100;

/// Does something under load, after which every kind of traffic has flowed.
fn under(site: &Site, f: impl FnOnce()) -> Toll {
    let ((), toll) = under_load(&site.network.client, Site::SERVERS, f);
    assert!(toll.newcomers > 10 && toll.exchanges > 100, "{toll:?}");
    toll
}

/// A web service and a service of datagrams on the same backends.
fn services(tracking: &str, backends: u8) -> String {
    let tracking = format!("tracking = \"{tracking}\"");
    let web = Service::tcp("web", Network::VIP, &[80]).key(&tracking);
    let names = Service::udp("names", Network::VIP, &[53]);
    format!(
        "{}{}",
        web.backends(backends, Site::HTTP),
        names.backends(backends, Site::UDP)
    )
}

fn succeed(balancer: &Balancer<'_>, command: &str) {
    let arguments: Vec<_> = command.split(' ').collect();
    let output = balancer.command(&arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
}

/// Lets traffic find what has changed.
fn a_while() {
    std::thread::sleep(Duration::from_millis(150));
}

fn orders_harm_nobody(tracking: &str) {
    let site = Site::new(4);
    let mut balancer = site.start(&services(tracking, 3));
    let toll = under(&site, || {
        let newcomer = Network::backend(3);
        for command in [
            &format!("backend add web {newcomer}:{} --name b3", Site::HTTP),
            &format!("backend add names {newcomer}:{} --name b3", Site::UDP),
            "backend weight web b0 25",
            "backend weight names b0 25",
            "backend drain web b1",
            "backend drain names b1",
            "backend weight web b2 0",
            "backend activate web b1",
            "backend activate names b1",
            "backend weight web b2 300",
            "backend drain web b3",
            "backend drain names b3",
        ] {
            succeed(&balancer, command);
            a_while();
        }
    });
    assert_eq!(toll.harms, []);

    // With the one that was added: who is removed loses its connections.
    balancer.configure(&services(tracking, 4));
    let toll = under(&site, || {
        let path = balancer.config();
        let file = fs::read_to_string(&path).unwrap();
        let other = balancer.directory().join("other.toml");
        let weighted = file.replace("name = \"b1\"", "name = \"b1\"\nweight = 30");
        fs::write(&other, weighted).unwrap();
        succeed(&balancer, &format!("apply {}", other.display()));
        a_while();
        let reweighted = |name| {
            services(tracking, 4).replace(
                &format!("name = \"{name}\""),
                &format!("name = \"{name}\"\nweight = 60"),
            )
        };
        balancer.configure(&reweighted("b0"));
        succeed(&balancer, "reload");
        a_while();
        balancer.configure(&reweighted("b2"));
        balancer.process().signal(Signal::HUP);
        a_while();
    });
    assert_eq!(toll.harms, []);
}

#[test]
fn orders_harm_nobody_where_every_flow_is_remembered() {
    orders_harm_nobody("full");
}

#[test]
fn orders_harm_nobody_where_only_flows_that_would_move_are_remembered() {
    orders_harm_nobody("changes");
}

fn a_backend_that_goes_takes_only_its_own_flows(tracking: &str) {
    let site = Site::new(3);
    let balancer = site.start(&services(tracking, 3));
    let toll = under(&site, || {
        for command in ["backend remove web b1", "backend remove names b1"] {
            succeed(&balancer, command);
            a_while();
        }
    });
    let beyond: Vec<_> = toll
        .beyond("b1")
        .into_iter()
        .filter(|harm| !harm.backend.is_empty())
        .collect();
    assert_eq!(beyond, [] as [&_; 0]);
    assert!(!toll.harms.is_empty(), "none of the flows had gone there");
}

#[test]
fn a_backend_that_goes_takes_only_its_own_flows_where_every_flow_is_remembered() {
    a_backend_that_goes_takes_only_its_own_flows("full");
}

#[test]
fn a_backend_that_goes_takes_only_its_own_flows_where_only_flows_that_would_move_are_remembered() {
    a_backend_that_goes_takes_only_its_own_flows("changes");
}

fn daemons_come_and_go_unnoticed(tracking: &str) {
    let site = Site::new(3);
    let mut balancer = site.start(&services(tracking, 3));
    let program = |site: &Site| site.network.balancer.xdp("eth0").expect("a program is attached").id;
    let toll = under(&site, || {
        for signal in [Signal::TERM, Signal::KILL] {
            let before = program(&site);
            balancer.end(signal);
            a_while();
            balancer.run();
            a_while();
            // As an upgrade does, each start puts its own program in the place of the last.
            assert_ne!(program(&site), before);
        }
        // What the table is now, it is not by the file alone.
        succeed(&balancer, "backend weight web b0 10");
        a_while();
        balancer.kill();
        balancer.run();
        a_while();
    });
    assert_eq!(toll.harms, []);
}

#[test]
fn daemons_come_and_go_unnoticed_where_every_flow_is_remembered() {
    daemons_come_and_go_unnoticed("full");
}

#[test]
fn daemons_come_and_go_unnoticed_where_only_flows_that_would_move_are_remembered() {
    daemons_come_and_go_unnoticed("changes");
}

fn a_backend_that_flaps_harms_only_its_own_flows(tracking: &str) {
    const HEALTH: &str = "kind = \"http\"\npath = \"/health\"\nport = 8080\ninterval = \"10ms\"\ntimeout = \"1s\"\n\
                          healthy_threshold = 1\nunhealthy_threshold = 1";
    let site = Site::new(3);
    let check = format!("[service.health]\n{HEALTH}\n");
    let services = services(tracking, 3);
    // Each service's own table comes before those of its backends.
    let services = services.replace(
        "[[service.backend]]\nname = \"b0\"",
        &format!("{check}[[service.backend]]\nname = \"b0\""),
    );
    let balancer = site.start(&services);
    let network = &site.network;
    let say = |status: &str| {
        let server = SocketAddr::new(Network::backend(2).into(), Site::HTTP);
        put(&network.backends[2], server, &format!("/health/{status}"), b"").unwrap();
    };
    let toll = under(&site, || {
        for flap in 0..FLAPS {
            let (status, health) = if flap % 2 == 0 {
                ("503", Health::Down)
            } else {
                ("200", Health::Up)
            };
            say(status);
            eventually("the daemon finds out", || {
                let service = Some("web".to_owned());
                match balancer.ask(&Request::Backends { service }) {
                    Response::Backends(backends) => (backends[2].health == health).then_some(()),
                    other => panic!("{other:?} is no list of backends"),
                }
            });
        }
    });
    // A newcomer may be on its way to the backend that goes down, but never more than one.
    let (newcomers, others): (Vec<_>, Vec<_>) = toll.beyond("b2").into_iter().partition(|harm| harm.backend.is_empty());
    assert_eq!(others, [] as [&_; 0]);
    assert!(newcomers.len() <= FLAPS / 2, "{newcomers:?}");
}

#[test]
fn a_backend_that_flaps_harms_only_its_own_flows_where_every_flow_is_remembered() {
    a_backend_that_flaps_harms_only_its_own_flows("full");
}

#[test]
fn a_backend_that_flaps_harms_only_its_own_flows_where_only_flows_that_would_move_are_remembered() {
    a_backend_that_flaps_harms_only_its_own_flows("changes");
}

/// The server that each of many clients reaches, always from another port.
fn reached(network: &Network) -> BTreeMap<Ipv4Addr, String> {
    let visit = |number: u8| {
        let client = Ipv4Addr::new(10, 1, 1, number);
        let reply = get_from(
            &network.client,
            SocketAddr::new(client.into(), 0),
            Site::SERVERS.http,
            "/",
        )
        .unwrap();
        let body: Value = reply.json();
        (client, body["server"].as_str().unwrap().to_owned())
    };
    (1..=100).map(visit).collect()
}

#[test]
fn remembered_clients_stay_through_every_change() {
    // With one arm the balancer's way to all clients is by one router.
    let network = Network::new(Arms::One, 4);
    let _http = Farm::http(&network, Site::HTTP);
    network.client.ip("route add local 10.1.1.0/24 dev lo");
    let web = |backends| {
        Service::tcp("web", Network::VIP, &[80])
            .key("affinity = \"client-ip\"")
            .backends(backends, Site::HTTP)
    };
    let mut balancer = Balancer::start(&network.balancer, &network.interfaces, &web(3).to_string());
    let before = reached(&network);
    let address = format!("{}:{}", Network::backend(3), Site::HTTP);
    succeed(&balancer, &format!("backend add web {address} --name b3"));
    assert_eq!(reached(&network), before, "a backend was added");
    for command in ["weight web b0 10", "drain web b1", "weight web b2 0", "activate web b1"] {
        succeed(&balancer, &format!("backend {command}"));
        assert_eq!(reached(&network), before, "{command}");
    }
    balancer.configure(&web(4).to_string());
    succeed(&balancer, "reload");
    assert_eq!(reached(&network), before, "the file was read again");
    for signal in [Signal::TERM, Signal::KILL] {
        balancer.end(signal);
        assert_eq!(reached(&network), before, "the daemon ended by {signal:?}");
        balancer.run();
        assert_eq!(reached(&network), before, "the daemon ran again");
    }
    succeed(&balancer, "backend remove web b3");
    assert_eq!(reached(&network), before, "a backend that none of them had was removed");
}

//! A backend that fails clients gets no more of them for a while.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use balancer_tests::lab::{Arms, Balancer, Farm, HttpServer, Network, Service, eventually, get_from};
use serde_json::Value;

const BACKENDS: u8 = 3;
/// The backend that things happen to.
const VICTIM: u8 = 1;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);
const PORT: u16 = 8080;
/// The balancer beside the backends.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

/// A service without health checks.
struct Scene<'a> {
    network: &'a Network,
    servers: Farm<HttpServer>,
    balancer: Balancer<'a>,
}

impl<'a> Scene<'a> {
    fn new(network: &'a Network, forwarding: &str, fail_timeout: &str) -> Self {
        let servers = Farm::http(network, PORT);
        let service = Service::tcp("web", Network::VIP, &[80])
            .forwarding(forwarding)
            .backends(BACKENDS, PORT)
            .passive(&format!("max_fails = 3\nfail_timeout = \"{fail_timeout}\""));
        let services = match forwarding {
            "full-nat" => service.key(&format!("source_addresses = [\"{BALANCER}\"]")),
            _ => service,
        };
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &services.to_string());
        Self {
            network,
            servers,
            balancer,
        }
    }

    /// What `backend list` says of the victim.
    fn victim(&self) -> Value {
        let backends: Vec<Value> = self.balancer.json(&["backend", "list", "web"]);
        let name = Network::backend_name(VICTIM);
        backends.into_iter().find(|backend| backend["name"] == *name).unwrap()
    }

    fn await_ejected(&self, ejected: bool) {
        eventually("the backend is taken out, or back", || {
            (self.victim()["ejected"] == ejected).then_some(())
        });
    }

    /// What comes of a request of the client from each of 40 ports.
    fn ask(&self, first: u16) -> Vec<io::Result<String>> {
        let clients = (first..first + 40).map(|port| SocketAddr::new(Network::CLIENT.into(), port));
        let asked = clients.map(|client| get_from(&self.network.client, client, VIP, "/"));
        let named = asked.map(|answer| answer.map(|reply| name(&reply.json())));
        named.collect()
    }

    /// Asserts that every request is answered. Returns whether the victim answers any.
    fn all_are_answered(&self, first: u16) -> bool {
        let answers: io::Result<Vec<String>> = self.ask(first).into_iter().collect();
        answers.unwrap().contains(&Network::backend_name(VICTIM))
    }

    fn count(&self, reason: &str) -> u64 {
        let victim = Network::backend_name(VICTIM);
        let sample =
            format!("balancer_backend_failures_total{{backend=\"{victim}\",service=\"web\",reason=\"{reason}\"}}");
        self.balancer.metric(&sample)
    }
}

fn name(reply: &Value) -> String {
    reply["server"].as_str().unwrap().to_owned()
}

#[test]
fn a_backend_that_refuses_connections_is_out_for_the_timeout_and_then_tried_again() {
    for forwarding in ["nat", "full-nat"] {
        let network = Network::new(Arms::Two, BACKENDS);
        let mut scene = Scene::new(&network, forwarding, "3s");
        assert!(scene.all_are_answered(40_000));

        scene.servers.kill(VICTIM);
        let refused = scene.ask(41_000).into_iter().filter_map(Result::err);
        let refused = refused.inspect(|error| assert_eq!(error.kind(), ErrorKind::ConnectionRefused));
        let refused = refused.count() as u64;
        assert!(refused >= 3);
        scene.await_ejected(true);
        assert_eq!(scene.count("refused"), refused);
        assert_eq!(scene.count("unanswered"), 0);
        assert_eq!(scene.victim()["health"], "down");
        assert_eq!(scene.victim()["share"], 0.0);
        assert!(!scene.all_are_answered(42_000));

        scene.servers.start(&network, VICTIM);
        scene.await_ejected(false);
        assert_eq!(scene.victim()["health"], "up");
        assert!(scene.all_are_answered(43_000));
        let log = scene.balancer.output();
        assert!(
            log.contains("web/b1 ejected: 3 connections refused within 3s; "),
            "{log}"
        );
        assert!(
            log.contains("web/b1 readmitted: 3s are over, it is tried again; "),
            "{log}"
        );
    }
}

#[test]
fn a_backend_that_swallows_requests_is_taken_out_and_who_waits_for_it_is_served_by_another() {
    for forwarding in ["nat", "full-nat"] {
        let network = Network::new(Arms::Two, BACKENDS);
        let scene = Scene::new(&network, forwarding, "30s");
        assert!(scene.all_are_answered(40_000));

        // Its answers get nowhere.
        let victim = &network.backends[usize::from(VICTIM)];
        let peer = match forwarding {
            "full-nat" => BALANCER,
            _ => Network::CLIENT,
        };
        victim.ip(&format!("route add blackhole {peer}/32"));
        let clients = (41_000..41_020).map(|port| SocketAddr::new(Network::CLIENT.into(), port));
        let answers: Vec<_> = std::thread::scope(|scope| {
            let ask = |client| get_from(&network.client, client, VIP, "/");
            #[expect(clippy::needless_collect, reason = "all ask before one is waited for")]
            let threads: Vec<_> = clients.map(|client| scope.spawn(move || ask(client))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for answer in answers {
            assert_ne!(name(&answer.unwrap().json()), Network::backend_name(VICTIM));
        }
        scene.await_ejected(true);
        assert!(scene.count("unanswered") >= 3);
        assert_eq!(scene.count("refused"), 0);
        assert!(!scene.all_are_answered(42_000));
    }
}

#[test]
fn the_last_backends_stay_whatever_traffic_shows() {
    let network = Network::new(Arms::Two, BACKENDS);
    let mut scene = Scene::new(&network, "nat", "30s");
    for number in 0..BACKENDS {
        scene.servers.kill(number);
    }
    for first in [41_000, 42_000] {
        assert!(scene.ask(first).iter().all(Result::is_err));
    }
    eventually("one is taken out", || {
        let backends: Vec<Value> = scene.balancer.json(&["backend", "list", "web"]);
        let ejected = backends.iter().filter(|backend| backend["ejected"] == true);
        (ejected.count() == 1).then_some(())
    });
    // What has been counted is looked at four times a second.
    std::thread::sleep(Duration::from_millis(600));
    let backends: Vec<Value> = scene.balancer.json(&["backend", "list", "web"]);
    assert_eq!(backends.iter().filter(|backend| backend["ejected"] == true).count(), 1);
}

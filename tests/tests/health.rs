//! A backend that fails its probes gets no clients; one that passes them again does.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use balancer_tests::lab::{
    Arms, Balancer, Farm, HttpServer, Network, Reply, Service, eventually, get_from, put, requests_during,
};
use rustix::process::Signal;
use serde_json::Value;

const BACKENDS: u8 = 3;
/// The backend that things happen to.
const VICTIM: u8 = 1;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);

const CHECK: &str = r#"kind = "http"
path = "/health"
interval = "50ms"
timeout = "1s"
healthy_threshold = 2
unhealthy_threshold = 3"#;

/// A service with health checks whose backends are all up.
struct Scene<'a> {
    network: &'a Network,
    servers: Farm<HttpServer>,
    balancer: Balancer<'a>,
}

impl<'a> Scene<'a> {
    fn new(network: &'a Network) -> Self {
        Self::with(network, "")
    }

    /// With further lines of the health check.
    fn with(network: &'a Network, lines: &str) -> Self {
        let servers = Farm::http(network, 8080);
        let service = Service::tcp("web", Network::VIP, &[80])
            .backends(BACKENDS, 8080)
            .health(&format!("{CHECK}\n{lines}"));
        let balancer = Balancer::start(&network.balancer, &network.interfaces, &service.to_string());
        let scene = Self {
            network,
            servers,
            balancer,
        };
        for number in 0..BACKENDS {
            scene.await_health(number, "up");
        }
        scene
    }

    /// What `backend list` says of a backend.
    fn backend(&self, number: u8) -> Value {
        let backends: Vec<Value> = self.balancer.json(&["backend", "list", "web"]);
        let name = Network::backend_name(number);
        backends.into_iter().find(|backend| backend["name"] == *name).unwrap()
    }

    fn health(&self, number: u8) -> String {
        self.backend(number)["health"].as_str().unwrap().to_owned()
    }

    fn await_health(&self, number: u8, health: &str) {
        eventually("the backend's health changes", || {
            (self.health(number) == health).then_some(())
        });
    }

    /// Makes the victim's probes be answered with these statuses, the last one for good.
    fn answer_probes(&self, statuses: &str) {
        let address = SocketAddr::new(Network::backend(VICTIM).into(), 8080);
        let host = &self.network.backends[usize::from(VICTIM)];
        assert_eq!(
            put(host, address, &format!("/health/{statuses}"), b"").unwrap().status,
            204
        );
    }

    /// How many of the victim's probes have had this result.
    fn probes(&self, result: &str) -> u64 {
        let name = Network::backend_name(VICTIM);
        let sample =
            format!("balancer_backend_health_checks_total{{backend=\"{name}\",result=\"{result}\",service=\"web\"}}");
        self.balancer.find_metric(&sample).unwrap_or(0)
    }

    /// Waits until `count` more of the victim's probes have had this result than at the time of `before`.
    fn await_probes(&self, result: &str, before: u64, count: u64) {
        eventually("probes have this result", || {
            (self.probes(result) >= before + count).then_some(())
        });
    }

    /// The backends that answer the client at 40 ports from `first` on. Every request must be answered.
    fn who_answers(&self, first: u16) -> BTreeSet<String> {
        let clients = (first..first + 40).map(|port| SocketAddr::new(Network::CLIENT.into(), port));
        let answers = clients.map(|client| get_from(&self.network.client, client, VIP, "/"));
        names(answers.collect())
    }
}

/// Who has answered. Every request must have been answered.
fn names(answers: Vec<io::Result<Reply>>) -> BTreeSet<String> {
    let answers = answers.into_iter().map(|answer| answer.unwrap().json());
    answers
        .map(|reply: Value| reply["server"].as_str().unwrap().to_owned())
        .collect()
}

fn all() -> BTreeSet<String> {
    (0..BACKENDS).map(Network::backend_name).collect()
}

fn all_but_the_victim() -> BTreeSet<String> {
    (0..BACKENDS)
        .filter(|&number| number != VICTIM)
        .map(Network::backend_name)
        .collect()
}

#[test]
fn no_request_fails_once_a_killed_backend_is_down_nor_when_it_comes_back() {
    let network = Network::new(Arms::Two, BACKENDS);
    let mut scene = Scene::new(&network);
    assert_eq!(scene.who_answers(40_000), all());

    scene.servers.kill(VICTIM);
    scene.await_health(VICTIM, "down");
    assert_eq!(scene.backend(VICTIM)["share"], 0.0);
    // Known clients and new ones.
    assert_eq!(scene.who_answers(40_000), all_but_the_victim());
    assert_eq!(scene.who_answers(41_000), all_but_the_victim());
    let status: Value = scene.balancer.json(&["status"]);
    assert_eq!(status["backends"]["up"], BACKENDS - 1);
    assert_eq!(status["backends"]["down"], 1);
    assert_eq!(
        scene
            .balancer
            .metric("balancer_backend_up{backend=\"b1\",service=\"web\"}"),
        0
    );

    let ((), answers) = requests_during(&network.client, VIP, || {
        scene.servers.start(&network, VICTIM);
        scene.await_health(VICTIM, "up");
    });
    names(answers);
    assert_eq!(scene.who_answers(42_000), all());
}

#[test]
fn no_request_fails_once_a_backend_that_answers_503_is_down_nor_when_it_recovers() {
    let network = Network::new(Arms::Two, BACKENDS);
    let scene = Scene::new(&network);
    assert_eq!(scene.who_answers(40_000), all());

    scene.answer_probes("503");
    scene.await_health(VICTIM, "down");
    let ((), answers) = requests_during(&network.client, VIP, || {
        assert_eq!(scene.who_answers(40_000), all_but_the_victim());
        assert_eq!(scene.who_answers(41_000), all_but_the_victim());
        scene.answer_probes("200");
        scene.await_health(VICTIM, "up");
    });
    names(answers);
    assert_eq!(scene.who_answers(42_000), all());
}

#[test]
fn fewer_failures_in_a_row_than_the_threshold_change_nothing() {
    let network = Network::new(Arms::Two, BACKENDS);
    let scene = Scene::new(&network);
    let failures = scene.probes("failure");
    scene.answer_probes("503,503,200,503,503,200");
    scene.await_probes("failure", failures, 4);
    let successes = scene.probes("success");
    scene.await_probes("success", successes, 1);
    assert_eq!(scene.health(VICTIM), "up");
    assert!(!scene.balancer.output().contains("is down"));
}

#[test]
fn fewer_successes_in_a_row_than_the_threshold_change_nothing() {
    let network = Network::new(Arms::Two, BACKENDS);
    let scene = Scene::new(&network);
    scene.answer_probes("503");
    scene.await_health(VICTIM, "down");

    let successes = scene.probes("success");
    scene.answer_probes("200,503,200,503");
    scene.await_probes("success", successes, 2);
    let failures = scene.probes("failure");
    scene.await_probes("failure", failures, 1);
    assert_eq!(scene.health(VICTIM), "down");

    scene.answer_probes("200");
    scene.await_health(VICTIM, "up");
    scene.await_probes("success", successes, 4);
}

#[test]
fn a_backend_that_is_held_down_stays_down_when_the_daemon_is_killed_and_started_again() {
    let network = Network::new(Arms::Two, BACKENDS);
    let mut scene = Scene::with(&network, "flap_limit = 1");
    let held = |scene: &Scene<'_>| scene.balancer.output().matches("web/b1 damped: ").count();
    for health in ["down", "up", "down"] {
        scene.answer_probes(if health == "up" { "200" } else { "503" });
        scene.await_health(VICTIM, health);
    }
    scene.answer_probes("200");
    eventually("the backend is held down", || (held(&scene) == 1).then_some(()));

    scene.balancer.process().signal(Signal::KILL);
    scene.balancer.process().wait(Duration::from_secs(10));
    scene.balancer.run();
    // Its log goes on in the same file.
    eventually("the backend is held down again", || (held(&scene) == 2).then_some(()));
    assert_eq!(scene.health(VICTIM), "down");
    assert_eq!(scene.who_answers(40_000), all_but_the_victim());
}

#[test]
fn a_backend_whose_host_has_gone_gets_no_clients() {
    let network = Network::new(Arms::Two, BACKENDS);
    let scene = Scene::new(&network);
    network.backends[usize::from(VICTIM)].ip("link set eth0 down");
    scene.await_health(VICTIM, "down");
    assert_eq!(scene.who_answers(40_000), all_but_the_victim());
}

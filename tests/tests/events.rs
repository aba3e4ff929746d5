//! Changes of state are told with their cause and their effect.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
};

use balancer_tests::lab::{Arms, Balancer, Farm, HttpServer, Network, Process, Service, eventually, get_from, program};
use serde_json::Value;

const BACKENDS: u8 = 3;
/// The backend that things happen to.
const VICTIM: u8 = 1;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);
const CHECK: &str = "kind = \"http\"\npath = \"/health\"\ninterval = \"50ms\"\ntimeout = \"1s\"";

/// A service with health checks whose backends are all up.
fn run<'a>(network: &'a Network, log_format: &'static str) -> (Farm<HttpServer>, Balancer<'a>) {
    let servers = Farm::http(network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80])
        .backends(BACKENDS, 8080)
        .health(CHECK);
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &service.to_string());
    balancer.log_format = log_format;
    balancer.run();
    eventually("all backends are up", || {
        (events(&balancer, "up").len() == 3).then_some(())
    });
    (servers, balancer)
}

/// The events of one kind.
fn events(balancer: &Balancer<'_>, kind: &str) -> Vec<Value> {
    let events: Vec<Value> = balancer.json(&["events"]);
    events.into_iter().filter(|event| event["kind"] == kind).collect()
}

/// Has the victim's server killed; returns what is then told.
fn kill(servers: &mut Farm<HttpServer>, balancer: &Balancer<'_>) -> Value {
    servers.kill(VICTIM);
    eventually("the victim is told to be down", || events(balancer, "down").pop())
}

#[test]
fn a_backend_that_goes_down_is_told_with_its_cause_and_what_moved() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (mut servers, balancer) = run(&network, "text");
    for port in 40_000..40_030 {
        let client = SocketAddr::new(Network::CLIENT.into(), port);
        assert_eq!(get_from(&network.client, client, VIP, "/").unwrap().status, 200);
    }
    let backends: Vec<Value> = balancer.json(&["backend", "list", "web"]);
    let name = Network::backend_name(VICTIM);
    let victim = backends.iter().find(|backend| backend["name"] == *name).unwrap();
    let flows = victim["flows"].as_u64().unwrap();
    assert!((1..30).contains(&flows), "{flows}");

    let down = kill(&mut servers, &balancer);
    assert_eq!((&down["service"], &down["backend"]), (&"web".into(), &(&*name).into()));
    assert_eq!(down["cause"], "connection refused ×3");
    assert_eq!(down["flows_moved"], flows);
    assert_eq!(down["flows_kept"], 30 - flows);
    let slots = u32::try_from(down["slots_moved"].as_u64().unwrap()).unwrap();
    let share = victim["share"].as_f64().unwrap();
    assert!((f64::from(slots) / 65_537.0 - share).abs() < 1e-9, "{down}");

    let line = format!(
        "web/{name} down: connection refused ×3; {},{:03} slots moved, {flows} live flow",
        slots / 1_000,
        slots % 1_000
    );
    assert_eq!(balancer.output().matches(&line).count(), 1, "{line}");
    let text = balancer.command(&["events"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&line), "{line}");
}

#[test]
fn a_host_that_many_services_share_has_few_lines_in_the_log_and_an_event_for_each() {
    const SERVICES: u16 = 40;
    let network = Network::new(Arms::Two, BACKENDS);
    let mut servers = Farm::http(&network, 8080);
    let services: String = (0..SERVICES)
        .map(|number| {
            Service::tcp(&format!("web{number}"), Network::VIP, &[10_000 + number])
                .backends(BACKENDS, 8080)
                .health(&CHECK.replace("50ms", "200ms"))
                .to_string()
                .replace("protocol", "maglev_size = 1009\nprotocol")
        })
        .collect();
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    let all_are_told = |kind: &str, count: usize| {
        eventually("all backends are told", || {
            (events(&balancer, kind).len() == count).then_some(())
        });
    };
    all_are_told("up", usize::from(SERVICES * u16::from(BACKENDS)));
    servers.kill(VICTIM);
    all_are_told("down", SERVICES.into());

    let host = Network::backend(VICTIM);
    let line = format!("{host}: 37 more backends down: connection refused ×3; ");
    eventually("the log has a line for all of them", || {
        balancer.output().contains(&line).then_some(())
    });
    let lines = balancer.output().matches("/b1 down: connection refused ×3; ").count();
    assert_eq!(lines, 3);
}

#[test]
fn who_follows_is_told_of_every_change_once_and_in_order() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (mut servers, balancer) = run(&network, "text");
    let mut command = Command::new(program("balancer"));
    command.arg("--socket").arg(&balancer.settings.socket);
    command.args(["events", "--follow", "--output", "json"]);
    let follower = Process::start(&mut command, &balancer.directory().join("events"));
    let told = |count: usize| {
        eventually("the follower is told", || {
            let output = follower.output();
            (output.lines().count() >= count && output.ends_with('\n')).then_some(output)
        })
    };
    told(3);
    kill(&mut servers, &balancer);
    assert!(balancer.command(&["backend", "drain", "web", "b0"]).status.success());
    let lines: Vec<Value> = told(5)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = lines.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["up", "up", "up", "down", "changed"]);
    assert!(
        lines[4]["cause"].as_str().unwrap().starts_with("web: drained b0 "),
        "{}",
        lines[4]
    );
    for (index, event) in lines.iter().enumerate() {
        assert_eq!(event["number"], index + 1);
    }
    let all: Vec<Value> = balancer.json(&["events"]);
    assert_eq!(lines, all);
}

#[test]
fn the_log_as_json_has_cause_and_effect_as_fields() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (mut servers, balancer) = run(&network, "json");
    let down = kill(&mut servers, &balancer);
    let output = balancer.output();
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines
        .map(|line| line["fields"].clone())
        .find(|fields| fields["kind"] == "down");
    let fields = line.expect("the log has a line for it");
    for key in [
        "service",
        "backend",
        "cause",
        "slots_moved",
        "flows_moved",
        "flows_kept",
    ] {
        assert_eq!(fields[key], down[key], "{key}");
    }
}

#[test]
fn a_backend_whose_host_cannot_be_reached_is_told() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_servers, balancer) = run(&network, "text");
    network.balancer.ip("link set eth1 down");
    let event = eventually("the way is told to be gone", || events(&balancer, "unreachable").pop());
    assert_eq!(event["service"], "web");
    network.balancer.ip("link set eth1 up");
    eventually("the way is told to be back", || events(&balancer, "reachable").pop());
}

#[test]
fn a_backend_that_one_client_fills_is_marked_as_hot_until_it_does_not() {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::http(&network, 8080);
    let service = Service::tcp("web", Network::VIP, &[80])
        .backends(BACKENDS, 8080)
        .to_string();
    let service = service.replace(
        "ports = [80]",
        "ports = [80]
affinity = \"client-ip\"",
    );
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &service);
    let connect = |ports: std::ops::Range<u16>, address| {
        for port in ports {
            get_from(&network.client, SocketAddr::new(address, port), VIP, "/").unwrap();
        }
    };
    connect(40_000..40_030, Network::CLIENT.into());
    let hot = eventually("a backend is told to be hot", || events(&balancer, "hot").pop());
    let name = hot["backend"].as_str().unwrap();
    assert_eq!(
        hot["cause"].as_str().unwrap().split(" of").next(),
        Some("it carries 100.0 %")
    );
    let gauge = format!("balancer_backend_hot{{backend=\"{name}\",service=\"web\"}}");
    assert_eq!(balancer.metric(&gauge), 1);
    assert_eq!(balancer.json::<Value>(&["status"])["backends"]["hot"], 1);

    assert!(balancer.command(&["flows", "flush", "web"]).status.success());
    let even = eventually("it is told to be so no longer", || events(&balancer, "even").pop());
    assert_eq!(even["backend"], name);
    assert_eq!(balancer.metric(&gauge), 0);
}

//! What operators change at run time, under traffic.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{
    Arms, Balancer, Connection, Farm, HttpServer, Network, Reply, Service, UdpClient, eventually, get, requests_during,
};
use rustix::process::Signal;
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

#[test]
fn a_backend_that_is_added_under_load_gets_clients_and_no_request_fails() {
    let (network, _servers) = farm(3);
    let balancer = start(&network, &web(2).health(HEALTH).to_string());
    let address = format!("{}:{PORT}", Network::backend(2));
    let (said, answers) = requests_during(&network.client, vip(), || {
        let said = succeed(&balancer, &format!("backend add web {address} --name b2"));
        eventually("the new backend gets clients", || {
            (share(&balancer, "b2") > 0.3).then_some(())
        });
        eventually("a client reaches it", || {
            servers(&network, 1).contains("b2").then_some(())
        });
        said
    });
    assert!(
        said.starts_with(&format!("web: added b2 ({address}): 21,8")) && said.contains(" of 65,537 slots move"),
        "{said}"
    );
    answers.iter().map(server).for_each(drop);
    assert_eq!(
        succeed(&balancer, &format!("backend add web {address}")),
        format!("web: b2 ({address}) is there already: nothing changed")
    );
}

#[test]
fn a_backend_that_is_added_gets_no_clients_before_it_answers() {
    let (network, mut servers) = farm(3);
    servers.kill(2);
    let balancer = start(&network, &web(2).health(HEALTH).to_string());
    let address = format!("{}:{PORT}", Network::backend(2));
    let ((), answers) = requests_during(&network.client, vip(), || {
        succeed(&balancer, &format!("backend add web {address} --name b2"));
        eventually("the new backend is found to be down", || {
            (of_backend(&balancer, "b2", "health") == "down").then_some(())
        });
        assert_eq!(of_backend(&balancer, "b2", "share"), 0.0);
    });
    answers.iter().map(server).for_each(drop);
    servers.start(&network, 2);
    eventually("the new backend gets clients", || {
        (share(&balancer, "b2") > 0.3).then_some(())
    });
}

#[test]
fn a_drained_backend_keeps_its_connections_and_gets_no_new_ones() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    let mut connection = Connection::open(&network.client, None, vip()).unwrap();
    let kept = server(&connection.get("/"));

    let said = succeed(&balancer, &format!("backend drain web {kept}"));
    assert!(said.contains(&format!("web: drained {kept} (")), "{said}");
    assert!(said.ends_with(" of 65,537 slots move, 1 live flow stays"), "{said}");
    assert_eq!(of_backend(&balancer, &kept, "admin"), "draining");
    assert_eq!(of_backend(&balancer, &kept, "share"), 0.0);
    let status: Value = balancer.json(&["status"]);
    assert_eq!(status["backends"]["draining"], 1);
    assert!(!servers(&network, 40).contains(&kept));
    assert_eq!(server(&connection.get("/")), kept);

    let again = succeed(&balancer, &format!("backend drain web {kept}"));
    assert!(again.ends_with("is draining already: nothing changed"), "{again}");
    succeed(&balancer, &format!("backend activate web {kept}"));
    assert!(servers(&network, 40).contains(&kept));
    assert_eq!(server(&connection.get("/")), kept);
}

#[test]
fn a_disabled_or_removed_backend_loses_its_connections_at_once() {
    let (network, _servers) = farm(3);
    let balancer = start(&network, &web(3).to_string());
    for verb in ["disable", "remove"] {
        let mut connection = Connection::open(&network.client, None, vip()).unwrap();
        let lost = server(&connection.get("/"));
        let said = succeed(&balancer, &format!("backend {verb} web {lost}"));
        assert!(
            said.contains("live flow is reassigned") || said.contains("live flows are reassigned"),
            "{said}"
        );
        // The other backend does not know the connection.
        connection.get("/").unwrap_err();
        assert!(!servers(&network, 20).contains(&lost));
        succeed(&balancer, &format!("backend {verb} web {lost}"));
    }
}

#[test]
fn weights_and_admin_states_show_and_unknown_names_are_told_apart() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    let address = format!("{}", Network::backend(0));
    let said = succeed(&balancer, &format!("backend weight web {address} 300"));
    assert!(said.starts_with("web: weight of b0 ("), "{said}");
    assert!(said.contains("changed from 100 to 300: 16,38"), "{said}");
    let b0 = share(&balancer, "b0");
    assert!((b0 - 0.75).abs() < 0.001, "{b0}");
    succeed(&balancer, "backend suspend web b1");
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 300], ["b1", "suspended", 100]])
    );
    let detail: Value = balancer.json(&["service", "show", "web"]);
    assert_eq!(detail["service"]["name"], "web");
    assert_eq!(detail["backends"][1]["admin"], "suspended");

    let known = format!(
        "there are b0 ({0}:{PORT}), b1 ({1}:{PORT})",
        Network::backend(0),
        Network::backend(1)
    );
    for (command, code, complaint) in [
        ("backend drain web b9", 5, format!("web has no backend b9: {known}")),
        (
            "backend drain api b0",
            5,
            "there is no service api: there are web".to_owned(),
        ),
        (
            "service show api",
            5,
            "there is no service api: there are web".to_owned(),
        ),
        (
            "service remove api",
            5,
            "there is no service api: there are web".to_owned(),
        ),
        (
            "backend add web 10.0.0.256",
            2,
            "10.0.0.256 is not an IP address".to_owned(),
        ),
        (
            "backend add web 192.0.2.10",
            2,
            "a backend cannot have its service's own address".to_owned(),
        ),
        ("backend weight web b0 65536", 2, "65536 is not in 0..=65535".to_owned()),
    ] {
        let (exit, _, said) = run(&balancer, command);
        assert_eq!(exit, code, "{command}: {said}");
        assert!(said.contains(&complaint), "{command}: {said}");
    }
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 300], ["b1", "suspended", 100]])
    );
}

#[test]
fn services_come_and_go_and_the_others_are_not_touched() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    let builds = || balancer.metric("balancer_table_build_duration_seconds_count");
    let mut connection = Connection::open(&network.client, None, vip()).unwrap();
    let kept = server(&connection.get("/"));

    let before = builds();
    let add = format!(
        "service add api --address {} --port 81,82 --backend {1}:{PORT} --set affinity_timeout=1h",
        Network::VIP,
        Network::backend(1)
    );
    let ((), answers) = requests_during(&network.client, vip(), || {
        assert_eq!(
            succeed(&balancer, &add),
            "api: added with 1 backend: its clients are served from now on"
        );
        let api = SocketAddr::new(Network::VIP.into(), 82);
        let reply = eventually("the new service answers", || get(&network.client, api, "/").ok());
        assert_eq!(reply.json::<Value>()["server"], "b1");
        assert_eq!(succeed(&balancer, &add), "api: is there already: nothing changed");
        assert_eq!(builds() - before, 1, "only the new service's table is built");
        let gone = succeed(&balancer, "service remove api");
        assert!(
            gone.starts_with("api: removed with 1 backend: nobody serves its clients"),
            "{gone}"
        );
        get(&network.client, api, "/").unwrap_err();
    });
    answers.iter().map(server).for_each(drop);
    assert_eq!(builds() - before, 1, "no other service's table is built");
    assert_eq!(server(&connection.get("/")), kept);

    let (code, _, complaint) = run(&balancer, &add.replace("--port 81,82", "--port 80"));
    assert_eq!(code, 2);
    assert!(
        complaint.contains("tcp port 80 of 192.0.2.10 is there already"),
        "{complaint}"
    );
}

#[test]
fn run_time_changes_survive_a_stop_and_a_kill() {
    let (network, _servers) = farm(3);
    let mut balancer = start(&network, &web(2).to_string());
    succeed(
        &balancer,
        &format!("backend add web {}:{PORT} --name b2 --weight 50", Network::backend(2)),
    );
    succeed(&balancer, "backend drain web b0");
    let expected = json!([["b0", "draining", 100], ["b1", "active", 100], ["b2", "active", 50]]);
    assert_eq!(backends(&balancer), expected);
    balancer.stop();
    balancer.run();
    assert_eq!(backends(&balancer), expected);
    succeed(&balancer, "backend weight web b2 60");
    balancer.kill();
    assert!(!servers(&network, 20).contains("b0"));
    balancer.run();
    assert_eq!(
        backends(&balancer),
        json!([["b0", "draining", 100], ["b1", "active", 100], ["b2", "active", 60]])
    );
    assert!(!servers(&network, 20).contains("b0"));
}

#[test]
fn a_file_that_is_read_again_wins_where_it_has_changed() {
    let (network, _servers) = farm(3);
    let mut balancer = start(&network, &web(2).to_string());
    succeed(&balancer, "backend weight web b0 7");
    succeed(&balancer, "backend drain web b1");
    balancer.configure(&web(3).to_string());
    balancer.process().signal(Signal::HUP);
    eventually("the file is read again", || {
        (backends(&balancer).as_array().map(Vec::len) == Some(3)).then_some(())
    });
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 7], ["b1", "draining", 100], ["b2", "active", 100]])
    );
    let said = succeed(&balancer, "reload");
    assert!(
        said.contains(": nothing changed\nchanged at run time, and kept:\n"),
        "{said}"
    );
    assert!(
        said.contains(&format!("web: backend {}:{PORT}: weight = 7", Network::backend(0))),
        "{said}"
    );

    let b0 = format!("{}:{PORT}", Network::backend(0));
    let edited = web(3).to_string().replace(&b0, &format!("{b0}\"\nweight = 9\n# \""));
    balancer.configure(&edited);
    let (code, _, warnings) = run(&balancer, "reload");
    assert_eq!(code, 0);
    assert!(
        warnings.contains("weight = 7: the file has changed the same since"),
        "{warnings}"
    );
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 9], ["b1", "draining", 100], ["b2", "active", 100]])
    );

    balancer.configure("[[service]]\nnome = 1\n");
    let before = balancer.command(&["export"]).stdout;
    let (code, _, complaint) = run(&balancer, "reload");
    assert_eq!(code, 3, "{complaint}");
    assert!(complaint.contains("unknown key \"nome\""), "{complaint}");
    assert_eq!(balancer.command(&["export"]).stdout, before);
}

#[test]
fn a_plan_says_what_applying_it_does_and_changes_nothing() {
    let (network, _servers) = farm(3);
    let mut balancer = start(&network, &web(2).to_string());
    let mut connections: Vec<_> = (0..20)
        .map(|_| Connection::open(&network.client, None, vip()).unwrap())
        .collect();
    let reached: Vec<_> = connections
        .iter_mut()
        .map(|connection| server(&connection.get("/")))
        .collect();
    let on_b1 = reached.iter().filter(|name| *name == "b1").count();
    succeed(&balancer, "backend weight web b0 200");

    // What is to be: b1 goes, b2 comes, and b0 has its weight of old.
    let file = balancer.directory().join("new.toml");
    let current = fs::read_to_string(balancer.config()).unwrap();
    let b1 = SocketAddr::new(Network::backend(1).into(), PORT).to_string();
    let b2 = SocketAddr::new(Network::backend(2).into(), PORT).to_string();
    fs::write(&file, current.replace(&b1, &b2).replace("\"b1\"", "\"b2\"")).unwrap();
    let path = file.to_str().unwrap();
    let before = (balancer.command(&["export"]).stdout, generation(&balancer));
    let plan: Value = balancer.json(&["plan", path]);
    assert_eq!(plan["services_added"], json!([]));
    assert_eq!(plan["services_removed"], json!([]));
    assert_eq!(plan["services_changed"], json!(["web"]));
    assert_eq!(
        plan["backends_added"],
        json!([{"service": "web", "name": "b2", "address": b2}])
    );
    assert_eq!(
        plan["backends_removed"],
        json!([{"service": "web", "name": "b1", "address": b1}])
    );
    assert_eq!(plan["flows_moved"], on_b1);
    // At least the third of b1 and the sixth that b0 loses.
    let moved = plan["clients_moved"].as_f64().unwrap();
    assert!((0.5..0.7).contains(&moved), "{moved}");
    let text = succeed(&balancer, &format!("plan {path}"));
    assert!(text.contains("of new clients, 0 of 0 known clients and"), "{text}");
    assert_eq!((balancer.command(&["export"]).stdout, generation(&balancer)), before);

    let said = succeed(&balancer, &format!("apply {path}"));
    assert!(
        said.contains(&format!(
            "1 service changed, {:.1} % of new clients move, {on_b1} of ",
            moved * 100.0
        )),
        "{said}"
    );
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 100], ["b2", "active", 100]])
    );
    for (connection, name) in connections.iter_mut().zip(&reached) {
        if name == "b0" {
            assert_eq!(server(&connection.get("/")), "b0");
        } else {
            connection.get("/").unwrap_err();
        }
    }
    let again: Value = balancer.json(&["plan", path]);
    assert_eq!(again["services_changed"], json!([]));
    assert_eq!(again["clients_moved"], 0.0);

    // What was applied outlives the daemon although its own file says otherwise.
    balancer.kill();
    balancer.run();
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 100], ["b2", "active", 100]])
    );
}

fn generation(balancer: &Balancer<'_>) -> Value {
    let status: Value = balancer.json(&["status"]);
    status["dataplane"]["generation"].clone()
}

#[test]
fn what_cannot_be_applied_changes_nothing() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).to_string());
    succeed(&balancer, "backend drain web b1");
    let before = (balancer.command(&["export"]).stdout, generation(&balancer));
    let current = fs::read_to_string(balancer.config()).unwrap();
    let file = balancer.directory().join("new.toml");
    let path = file.to_str().unwrap();
    let line = current.lines().position(|line| line.starts_with("ports")).unwrap() + 1;
    for (text, code, complaint) in [
        (
            current.replace("ports = [80]", "ports = [80, 0]"),
            3,
            format!("{path}:{line}:14: port = 0 is out of range"),
        ),
        (
            current.replace("max_flows = 65536", "max_flows = 65537"),
            1,
            "these cannot while the daemon runs: dataplane.max_flows".to_owned(),
        ),
        (
            current.replace("[\"eth0\"]", "[\"eth0\", \"eth9\"]"),
            1,
            "there is no interface eth9; there are ".to_owned(),
        ),
    ] {
        fs::write(&file, text).unwrap();
        let (exit, _, said) = run(&balancer, &format!("apply {path}"));
        assert_eq!(exit, code, "{said}");
        assert!(said.contains(&complaint), "{said}");
        assert_eq!((balancer.command(&["export"]).stdout, generation(&balancer)), before);
    }
    let (code, _, complaint) = run(&balancer, "apply /nonexistent");
    assert_eq!(code, 3, "{complaint}");
}

#[test]
fn interfaces_come_and_go_with_the_file() {
    let network = Network::new(Arms::Two, 2);
    let _servers = Farm::http(&network, PORT);
    let mut balancer = start(&network, &web(2).to_string());
    let attached = |balancer: &Balancer<'_>| -> Vec<Value> {
        let status: Value = balancer.json(&["status"]);
        let interfaces = status["dataplane"]["interfaces"].as_array().unwrap();
        interfaces.iter().map(|interface| interface["name"].clone()).collect()
    };
    balancer.settings.interfaces = vec!["eth0".to_owned()];
    balancer.configure(&web(2).to_string());
    succeed(&balancer, "reload");
    assert_eq!(attached(&balancer), ["eth0"]);
    balancer.settings.interfaces.push("eth1".to_owned());
    balancer.configure(&web(2).to_string());
    succeed(&balancer, "reload");
    assert_eq!(attached(&balancer), ["eth0", "eth1"]);
    assert_eq!(servers(&network, 20).len(), 2);
}

#[test]
fn what_is_exported_is_a_file_that_says_what_runs() {
    let (network, _servers) = farm(2);
    let balancer = start(&network, &web(2).health(HEALTH).to_string());
    succeed(&balancer, "backend suspend web b1");
    let exported = balancer.command(&["export"]).stdout;
    let text = String::from_utf8(exported).unwrap();
    assert!(
        text.contains("and what was changed at run time:\n#   web: backend "),
        "{text}"
    );
    let file = balancer.directory().join("exported.toml");
    fs::write(&file, &text).unwrap();
    let path = file.to_str().unwrap();
    succeed(&balancer, &format!("check {path}"));
    assert_eq!(succeed(&balancer, &format!("plan {path}")), "nothing would change");
}

#[test]
fn a_damaged_record_of_run_time_changes_is_set_aside_and_the_file_counts() {
    let (network, _servers) = farm(2);
    let mut balancer = start(&network, &web(2).to_string());
    succeed(&balancer, "backend drain web b1");
    balancer.stop();
    let record = balancer.settings.state.join("state.json");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, &whole[..whole.len() - 2]).unwrap();
    balancer.run();
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 100], ["b1", "active", 100]])
    );
    assert!(
        balancer.output().contains("run-time changes are lost"),
        "{}",
        balancer.output()
    );
    let names: Vec<_> = fs::read_dir(&balancer.settings.state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        matches!(&*names, [name] if name.starts_with("state.json.corrupt-")),
        "{names:?}"
    );
}

#[test]
fn what_was_kept_before_a_crash_is_completed_by_the_next_start() {
    let (network, _servers) = farm(2);
    let mut balancer = start(&network, &web(2).to_string());
    succeed(&balancer, "backend drain web b1");
    let drained = fs::read_to_string(balancer.settings.state.join("state.json")).unwrap();
    succeed(&balancer, "backend activate web b1");
    assert_eq!(servers(&network, 40).len(), 2);
    balancer.kill();
    // As if the daemon had been killed between keeping the order and carrying it out.
    fs::write(balancer.settings.state.join("state.json"), drained).unwrap();
    assert_eq!(servers(&network, 40).len(), 2);
    balancer.run();
    assert_eq!(
        backends(&balancer),
        json!([["b0", "active", 100], ["b1", "draining", 100]])
    );
    assert_eq!(servers(&network, 40), HashSet::from(["b0".to_owned()]));
}

#[test]
fn backends_are_told_apart_by_address_families_too() {
    let network = Network::new(Arms::One, 2);
    let _servers = Farm::http(&network, PORT);
    let web = Service::tcp("web", Network::VIP6, &[80]).backends(1, PORT);
    let balancer = start(&network, &web.to_string());
    let address = SocketAddr::new(Network::backend_of(IpAddr::from(Network::VIP6), 1), PORT);
    let said = succeed(&balancer, &format!("backend add web {address}"));
    assert!(said.starts_with(&format!("web: added {address}: ")), "{said}");
    let said = succeed(&balancer, &format!("backend remove web {}", address.ip()));
    assert!(said.starts_with(&format!("web: removed {address}: ")), "{said}");
}

#[test]
fn a_backup_serves_while_no_other_backend_can() {
    let (network, mut running) = farm(2);
    let balancer = start(&network, &web(1).health(HEALTH).to_string());
    let address = format!("{}:{PORT}", Network::backend(1));
    succeed(&balancer, &format!("backend add web {address} --name b1 --backup"));
    eventually("the backup is up", || {
        (of_backend(&balancer, "b1", "health") == "up").then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b0".to_owned()]));
    running.kill(0);
    eventually("the backup serves", || {
        (of_backend(&balancer, "b1", "share") == 1.0).then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b1".to_owned()]));
    running.start(&network, 0);
    eventually("the backup does not serve", || {
        (of_backend(&balancer, "b1", "share") == 0.0).then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b0".to_owned()]));
}

#[test]
fn a_backend_that_comes_up_gets_its_share_of_new_clients_step_by_step() {
    let (network, mut servers) = farm(2);
    let services = web(2)
        .health(HEALTH)
        .to_string()
        .replace("ports = [80]", "ports = [80]\nslow_start = \"2s\"");
    let balancer = start(&network, &services);
    eventually("both are up", || {
        (of_backend(&balancer, "b1", "health") == "up").then_some(())
    });
    assert!(share(&balancer, "b1") > 0.49, "who serves at the start does so in full");
    servers.kill(1);
    eventually("one is down", || (share(&balancer, "b1") == 0.0).then_some(()));
    servers.start(&network, 1);
    let mut shares = vec![0.0];
    eventually("it has its full share", || {
        let share = share(&balancer, "b1");
        if shares.last() != Some(&share) {
            shares.push(share);
        }
        (share > 0.49).then_some(())
    });
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares.len() > 5, "{shares:?}");
    assert!(shares[1] < 0.25, "{shares:?}");
}

#[test]
fn with_too_few_backends_up_health_is_ignored() {
    let (network, mut servers) = farm(3);
    let services = web(3).health(HEALTH).to_string();
    let services = services.replace("ports = [80]", "ports = [80]\npanic_threshold = 0.5");
    let balancer = start(&network, &services);
    eventually("all are up", || {
        (of_backend(&balancer, "b2", "health") == "up").then_some(())
    });
    servers.kill(0);
    eventually("one gets no clients", || (share(&balancer, "b0") == 0.0).then_some(()));
    servers.kill(1);
    eventually("two are down", || {
        (of_backend(&balancer, "b1", "health") == "down").then_some(())
    });
    for name in ["b0", "b1", "b2"] {
        assert!((0.3..0.4).contains(&share(&balancer, name)), "{name}");
    }
}

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

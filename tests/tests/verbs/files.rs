//! Changes at run time beside those of files: what is kept, read again, planned, applied and exported.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, SocketAddr},
};

use balancer_tests::lab::{Arms, Balancer, Connection, Farm, Network, Service, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{HEALTH, PORT, backends, farm, run, server, servers, start, succeed, vip, web};

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

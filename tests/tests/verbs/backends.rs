//! Backends and services that come, go and change, under traffic.

use std::net::SocketAddr;

use balancer_tests::lab::{Connection, Network, eventually, get, requests_during};
use serde_json::{Value, json};

use crate::{HEALTH, PORT, backends, farm, of_backend, run, server, servers, share, start, succeed, vip, web};

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

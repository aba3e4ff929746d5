use proptest::{collection::vec, prelude::*, sample::select};

use super::{Change, Endpoint, Intent, Modification, changes};
use crate::config::{self, Admin, Backend, Config};

/// A file with a service of two backends.
pub(super) const FILE: &str = "\
version = 1
[dataplane]
interfaces = ['eth0']
[[service]]
name = 'web'
address = '192.0.2.10'
ports = [80]
[[service.backend]]
name = 'b1'
address = '10.0.0.11:80'
[[service.backend]]
name = 'b2'
address = '10.0.0.12:80'
weight = 100
";

const B3: &str = "[[service.backend]]\nname = 'b3'\naddress = '10.0.0.13:80'\n";
const API: &str = "[[service]]\nname = 'api'\naddress = '192.0.2.11'\nports = [80]\n";

fn parse(text: &str) -> Config {
    config::parse(text, "f").unwrap().config
}

/// An intent of what `file` says, changed at run time to what `running` says.
pub(super) fn intent(file: &str, running: &str) -> Intent {
    Intent {
        file: parse(file),
        running: parse(running),
        migrations: Vec::new(),
    }
}

/// The configuration with services and backends in a fixed order.
fn sorted(mut config: Config) -> Config {
    config.services.sort_by(|one, other| one.name.cmp(&other.name));
    for service in &mut config.services {
        service.backends.sort_by_key(|backend| Endpoint::from(backend));
    }
    config
}

#[test]
fn a_run_time_change_goes_on_until_the_file_changes_the_same() {
    let with = |addition: &str| format!("{FILE}{addition}");
    let weight = |weight: &str| FILE.replace("weight = 100", &format!("weight = {weight}"));
    let draining = with("admin = 'draining'\n");
    let without_b2 = FILE
        .split("[[service.backend]]\nname = 'b2'")
        .next()
        .unwrap()
        .to_owned();
    let without_web = FILE.split("[[service]]").next().unwrap().to_owned();
    let http = FILE.replace("ports = [80]", "ports = [80]\naffinity_timeout = '1h'");
    let two_hours = FILE.replace("ports = [80]", "ports = [80]\naffinity_timeout = '2h'");
    let renamed = FILE.replace("'b2'", "'b2-new'");
    let same = FILE.to_owned();

    // What the file said, what was made of it at run time, what the file says now, what then runs.
    let cases: &[(&str, &str, &str, String)] = &[
        // The file says what it said: everything goes on.
        ("weight", &weight("7"), FILE, weight("7")),
        ("admin", &draining, FILE, draining.clone()),
        ("backend added", &with(B3), FILE, with(B3)),
        ("backend removed", &without_b2, FILE, without_b2.clone()),
        ("service added", &with(API), FILE, with(API)),
        ("service removed", &without_web, FILE, without_web.clone()),
        ("settings", &http, FILE, http.clone()),
        // The file changes something else: both count.
        (
            "weight, name",
            &weight("7"),
            &renamed,
            renamed.replace("weight = 100", "weight = 7"),
        ),
        (
            "weight, admin",
            &weight("7"),
            &draining,
            weight("7") + "admin = 'draining'\n",
        ),
        (
            "admin, settings",
            &draining,
            &http,
            http.clone() + "admin = 'draining'\n",
        ),
        (
            "backend, other backend",
            &with(B3),
            &without_b2,
            without_b2.clone() + B3,
        ),
        ("backend added, service added", &with(B3), &with(API), with(B3) + API),
        ("settings, backend", &http, &with(B3), http.clone() + B3),
        // The file changes the same: the file counts.
        ("weight, weight", &weight("7"), &weight("8"), weight("8")),
        ("settings, settings", &http, &two_hours, two_hours.clone()),
        ("weight, backend removed", &weight("7"), &without_b2, without_b2.clone()),
        (
            "weight, service removed",
            &weight("7"),
            &without_web,
            without_web.clone(),
        ),
        ("backend removed, its weight", &without_b2, &weight("8"), weight("8")),
        (
            "service removed, a weight in it",
            &without_web,
            &weight("8"),
            weight("8"),
        ),
        (
            "backend added, service removed",
            &with(B3),
            &without_web,
            without_web.clone(),
        ),
        (
            "service added, service added",
            &with(API),
            &with(&API.replace("11", "12")),
            with(&API.replace("11", "12")),
        ),
        // The file has caught up.
        ("weight, same weight", &weight("7"), &weight("7"), weight("7")),
        ("backend added, same backend", &with(B3), &with(B3), with(B3)),
        (
            "backend removed, same backend",
            &without_b2,
            &without_b2,
            without_b2.clone(),
        ),
        ("nothing", &same, &weight("8"), weight("8")),
    ];
    for (name, running, file, expected) in cases {
        let merged = intent(FILE, running).with_file(parse(file));
        assert_eq!(sorted(merged.intent.running), sorted(parse(expected)), "{name}");
        assert_eq!(merged.intent.file, parse(file), "{name}");
    }
}

#[test]
fn what_ends_is_told_unless_the_file_says_it_itself() {
    let weight = |weight: &str| FILE.replace("weight = 100", &format!("weight = {weight}"));
    let told = |file: &str| {
        let merged = intent(FILE, &weight("7")).with_file(parse(file));
        let ended = merged.ended.iter().map(|(change, why)| format!("{change}: {why}"));
        (merged.kept.len(), ended.collect::<Vec<_>>())
    };
    assert_eq!(told(FILE), (1, vec![]));
    assert_eq!(told(&weight("7")), (0, vec![]));
    assert_eq!(
        told(&weight("8")),
        (
            0,
            vec!["web: backend 10.0.0.12:80: weight = 7: the file has changed the same since".to_owned()]
        )
    );
}

#[test]
fn a_run_time_change_that_does_not_fit_the_file_any_more_ends_and_the_others_go_on() {
    let running = format!("{}{B3}{API}", FILE.replace("weight = 100", "weight = 7"));
    // The file gives the name b3 and the address of api to others.
    let file = format!("{FILE}{}{}", B3.replace(".13", ".14"), API.replace("api", "intranet"));
    let merged = intent(FILE, &running).with_file(parse(&file));
    let expected = file.replace("weight = 100", "weight = 7");
    assert_eq!(sorted(merged.intent.running), sorted(parse(&expected)));
    let ended: Vec<_> = merged.ended.iter().map(|(change, _)| change.to_string()).collect();
    assert_eq!(ended, ["web: backend 10.0.0.13:80 added", "api: added"]);
    assert!(
        merged.ended[0].1.contains("a backend named \"b3\" is there already"),
        "{}",
        merged.ended[0].1
    );
}

#[test]
fn what_replaces_everything_stays_until_the_file_changes() {
    let intent = Intent::replaced(parse(&FILE.replace("192.0.2.10", "192.0.2.20")), parse(FILE));
    let again = intent.with_file(parse(FILE));
    assert_eq!(again.intent, intent);
    let edited = intent.with_file(parse(&FILE.replace("weight = 100", "weight = 8")));
    assert_eq!(
        edited.intent.running,
        parse(
            &FILE
                .replace("192.0.2.10", "192.0.2.20")
                .replace("weight = 100", "weight = 8")
        )
    );
}

/// Orders of every kind about few services and backends, so that they meet.
fn change() -> impl Strategy<Value = Change> {
    let service = select(&["web", "api", "dns"][..]).prop_map(str::to_owned);
    let endpoint = (1_u8..5).prop_map(|host| Endpoint {
        address: [10, 0, 0, host].into(),
        port: Some(80),
    });
    let modification = prop_oneof![
        "[a-c]".prop_map(Modification::Name),
        (0_u32..3).prop_map(Modification::Weight),
        select(vec![Admin::Active, Admin::Draining, Admin::Disabled, Admin::Suspended]).prop_map(Modification::Admin),
    ];
    (service, endpoint, modification, 0..8).prop_map(|(service, endpoint, modification, kind)| match kind {
        0 => Change::AddService(Box::new({
            let mut added = parse(FILE).services.remove(0);
            added.address = [192, 0, 2, service.as_bytes()[0]].into();
            added.name = service;
            added
        })),
        1 => Change::RemoveService(service),
        2 | 3 => Change::AddBackend {
            service,
            backend: Backend {
                name: endpoint.to_string(),
                address: endpoint.address,
                port: endpoint.port,
                weight: 100,
                backup: false,
                admin: Admin::Active,
                server_id: None,
            },
        },
        4 => Change::RemoveBackend {
            service,
            backend: endpoint,
        },
        _ => Change::ModifyBackend {
            service,
            backend: endpoint,
            modification,
        },
    })
}

/// What is left of a configuration after those of the changes that are possible and valid.
fn changed(mut config: Config, changes: &[Change]) -> Config {
    for change in changes {
        let mut next = config.clone();
        if change.apply(&mut next).is_ok() && config::validate(&next).is_ok() {
            config = next;
        }
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn differences_lead_from_one_configuration_to_the_other(
        one in vec(change(), 0..12),
        other in vec(change(), 0..12),
    ) {
        let (one, other) = (changed(parse(FILE), &one), changed(parse(FILE), &other));
        let mut reached = one.clone();
        for change in changes(&one, &other) {
            change.apply(&mut reached).unwrap();
        }
        prop_assert_eq!(sorted(reached), sorted(other));
    }

    #[test]
    fn what_runs_after_any_changes_is_exported_and_read_back_the_same(orders in vec(change(), 0..12)) {
        let running = changed(parse(FILE), &orders);
        prop_assert_eq!(parse(&config::export(&running)), running);
    }

    #[test]
    fn a_merge_is_valid_keeps_what_it_says_and_does_not_change_when_repeated(
        file in vec(change(), 0..8),
        running in vec(change(), 0..8),
        new in vec(change(), 0..8),
    ) {
        let file = changed(parse(FILE), &file);
        let running = changed(file.clone(), &running);
        let new = changed(file.clone(), &new);
        let intent = Intent { file, running, migrations: Vec::new() };
        let merged = intent.with_file(new.clone());
        prop_assert!(config::validate(&merged.intent.running).is_ok());
        let mut expected = new.clone();
        for change in &merged.kept {
            change.apply(&mut expected).unwrap();
        }
        prop_assert_eq!(&merged.intent.running, &expected);
        let again = merged.intent.with_file(new);
        prop_assert_eq!(sorted(again.intent.running), sorted(merged.intent.running));
        prop_assert_eq!(again.ended, vec![]);
    }
}

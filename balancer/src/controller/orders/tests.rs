use super::*;
use crate::{
    config::{self, Admin, ServerId},
    control::protocol::{BackendKeys, RefusalKind},
};

const FILE: &str = "\
version = 1
dataplane.interfaces = ['eth0']
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
admin = 'draining'
";

fn intent() -> Intent {
    Intent::of_file(config::parse(FILE, "f").unwrap().config)
}

fn web() -> String {
    "web".to_owned()
}

fn add(address: &str, keys: BackendKeys) -> Order {
    Order::AddBackend {
        service: web(),
        address: address.to_owned(),
        keys,
    }
}

fn remove(backend: &str) -> Order {
    Order::RemoveBackend {
        service: web(),
        backend: backend.to_owned(),
    }
}

fn set_admin(backend: &str, admin: Admin) -> Order {
    Order::SetAdmin {
        service: web(),
        backend: backend.to_owned(),
        admin,
    }
}

fn set_weight(backend: &str, weight: u32) -> Order {
    Order::SetWeight {
        service: web(),
        backend: backend.to_owned(),
        weight,
    }
}

fn named(name: &str) -> BackendKeys {
    BackendKeys {
        name: Some(name.to_owned()),
        ..BackendKeys::default()
    }
}

fn weighing(weight: u32) -> BackendKeys {
    BackendKeys {
        weight: Some(weight),
        ..BackendKeys::default()
    }
}

/// Carries the order out as far as it concerns the configuration; whether there was anything to do.
fn obey(intent: &mut Intent, order: &Order) -> Result<bool, Refusal> {
    let action = step(intent, order)?.action;
    if let Some(Action::Change(change)) = &action {
        change.apply(&mut intent.running).unwrap();
    }
    Ok(action.is_some())
}

#[test]
fn an_order_changes_something_once() {
    for (order, said, again) in [
        (
            add("10.0.0.13:80", BackendKeys::default()),
            "added 10.0.0.13:80",
            "10.0.0.13:80 is there already",
        ),
        (
            add("10.0.0.13", named("b3")),
            "added b3 (10.0.0.13)",
            "b3 (10.0.0.13) is there already",
        ),
        (
            remove("b1"),
            "removed b1 (10.0.0.11:80)",
            "b1 (10.0.0.11:80) is removed already",
        ),
        (
            remove("10.0.0.11"),
            "removed b1 (10.0.0.11:80)",
            "b1 (10.0.0.11:80) is removed already",
        ),
        (
            set_admin("b1", Admin::Draining),
            "drained b1 (10.0.0.11:80)",
            "b1 (10.0.0.11:80) is draining already",
        ),
        (
            set_admin("b2", Admin::Active),
            "activated b2 (10.0.0.12:80)",
            "b2 (10.0.0.12:80) is active already",
        ),
        (
            set_admin("10.0.0.12:80", Admin::Disabled),
            "disabled b2 (10.0.0.12:80)",
            "b2 (10.0.0.12:80) is disabled already",
        ),
        (
            set_admin("b1", Admin::Suspended),
            "suspended b1 (10.0.0.11:80)",
            "b1 (10.0.0.11:80) is suspended already",
        ),
        (
            set_weight("b1", 7),
            "weight of b1 (10.0.0.11:80) changed from 100 to 7",
            "b1 (10.0.0.11:80) has weight 7 already",
        ),
    ] {
        let mut intent = intent();
        let first = step(&intent, &order).unwrap();
        assert_eq!((first.said.as_str(), first.action.is_some()), (said, true), "{order:?}");
        assert_eq!(obey(&mut intent, &order), Ok(true));
        let second = step(&intent, &order).unwrap();
        assert_eq!((second.said.as_str(), second.action), (again, None), "{order:?}");
    }
}

#[test]
fn an_added_backend_has_what_was_asked_for_and_defaults_for_the_rest() {
    let mut intent = intent();
    obey(&mut intent, &add("10.0.0.13", BackendKeys::default())).unwrap();
    let keys = BackendKeys {
        name: Some("b4".to_owned()),
        weight: Some(0),
        backup: Some(true),
        server_id: Some("0a0b0c0d".to_owned()),
    };
    obey(&mut intent, &add("10.0.0.14:81", keys)).unwrap();
    let text = format!(
        "{FILE}[[service.backend]]\naddress = '10.0.0.13'\n\
         [[service.backend]]\naddress = '10.0.0.14:81'\nname = 'b4'\nweight = 0\n"
    );
    let mut expected = config::parse(&text, "f").unwrap().config;
    expected.services[0].backends[3].backup = true;
    expected.services[0].backends[3].server_id = ServerId::new(vec![10, 11, 12, 13]);
    assert_eq!(intent.running, expected);
}

#[test]
fn a_backend_that_is_there_is_not_added_with_other_values() {
    let intent = intent();
    let backup = BackendKeys {
        backup: Some(true),
        ..BackendKeys::default()
    };
    for keys in [named("b9"), weighing(7), backup] {
        let refusal = step(&intent, &add("10.0.0.11:80", keys)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Usage);
        assert_eq!(
            refusal.message,
            "web has b1 (10.0.0.11:80) already, with weight = 100 and backup = false: change or remove that one"
        );
    }
    for keys in [BackendKeys::default(), named("b1"), weighing(100)] {
        assert_eq!(step(&intent, &add("10.0.0.11:80", keys)).unwrap().action, None);
    }
}

#[test]
fn what_never_was_there_cannot_be_removed_nor_changed() {
    let mut intent = intent();
    obey(&mut intent, &add("10.0.0.13:80", BackendKeys::default())).unwrap();
    obey(&mut intent, &remove("10.0.0.13:80")).unwrap();
    for order in [
        remove("b9"),
        remove("10.0.0.13:80"),
        set_admin("b9", Admin::Active),
        set_weight("b9", 1),
        Order::RemoveBackend {
            service: "api".to_owned(),
            backend: "b1".to_owned(),
        },
        Order::AddBackend {
            service: "api".to_owned(),
            address: "10.0.0.13".to_owned(),
            keys: BackendKeys::default(),
        },
    ] {
        assert_eq!(
            step(&intent, &order).unwrap_err().kind,
            RefusalKind::NotFound,
            "{order:?}"
        );
    }
}

#[test]
fn what_is_no_address_is_told_how_to_write_one() {
    let refusal = step(&intent(), &add("b3", BackendKeys::default())).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Usage);
    assert!(
        refusal.message.starts_with("b3 is not an IP address"),
        "{}",
        refusal.message
    );
}

fn add_service(name: &str, lines: &str) -> Order {
    Order::AddService {
        name: name.to_owned(),
        text: format!("[[service]]\nname = '{name}'\n{lines}"),
    }
}

const API: &str = "address = '192.0.2.11'\nports = [80]\n[[service.backend]]\naddress = '10.0.0.11:81'\n";

#[test]
fn a_service_is_added_and_removed_once() {
    let mut intent = intent();
    let (add, remove) = (
        add_service("api", API),
        Order::RemoveService {
            service: "web".to_owned(),
        },
    );
    assert_eq!(step(&intent, &add).unwrap().said, "added with 1 backend");
    assert_eq!(obey(&mut intent, &add), Ok(true));
    let expected = config::parse(&format!("{FILE}[[service]]\nname = 'api'\n{API}"), "f").unwrap();
    assert_eq!(intent.running, expected.config);
    assert_eq!(step(&intent, &add).unwrap().said, "is there already");
    assert_eq!(obey(&mut intent, &add), Ok(false));

    assert_eq!(step(&intent, &remove).unwrap().said, "removed with 2 backends");
    assert_eq!(obey(&mut intent, &remove), Ok(true));
    assert_eq!(step(&intent, &remove).unwrap().said, "is removed already");
    assert_eq!(obey(&mut intent, &remove), Ok(false));
}

#[test]
fn a_service_that_is_there_stays_as_it_is() {
    let mut intent = intent();
    obey(&mut intent, &add_service("api", API)).unwrap();
    let without_backends = API.split("[[").next().unwrap();
    assert_eq!(obey(&mut intent, &add_service("api", without_backends)), Ok(false));
    for lines in [
        API.replace("[80]", "[80, 443]"),
        API.replace("10.0.0.11:81", "10.0.0.12:81"),
    ] {
        let refusal = step(&intent, &add_service("api", &lines)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Usage);
        assert!(
            refusal.message.starts_with("there is a service api already"),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn a_service_that_is_not_valid_is_told_why() {
    for (name, lines, expected) in [
        (
            "api",
            API.replace("192.0.2.11", "192.0.2.10"),
            "tcp port 80 of 192.0.2.10 is there already; give one of the services another address, port or protocol",
        ),
        (
            "api",
            API.replace("ports = [80]\n", ""),
            "[[service]] lacks \"ports\"; add ports = [80, 443], or ports = [] for every port",
        ),
        (
            "a b",
            API.to_owned(),
            "name = \"a b\" is not a name; use 1 to 63 of the characters A-Z a-z 0-9 . _ -",
        ),
    ] {
        let refusal = step(&intent(), &add_service(name, &lines)).unwrap_err();
        assert_eq!((refusal.kind, refusal.message.as_str()), (RefusalKind::Usage, expected));
    }
}

fn migrate(from: &str, to: &str) -> Order {
    Order::Migrate {
        service: web(),
        from: from.to_owned(),
        to: to.to_owned(),
        flows: true,
    }
}

#[test]
fn clients_are_moved_between_two_backends_that_can_have_them() {
    let mut intent = intent();
    let step = step(&intent, &migrate("b2", "10.0.0.11")).unwrap();
    assert_eq!(
        step.said,
        "clients of b2 (10.0.0.12:80) belong to b1 (10.0.0.11:80) now"
    );
    let [from, to] = [12, 11].map(|host| Endpoint {
        address: [10, 0, 0, host].into(),
        port: Some(80),
    });
    let expected = Migration {
        service: web(),
        from,
        to,
        flows: true,
    };
    assert_eq!(step.action, Some(Action::Migrate(expected)));

    obey(&mut intent, &set_admin("b1", Admin::Disabled)).unwrap();
    for (order, kind, expected) in [
        (migrate("b2", "b1"), RefusalKind::Usage, "is disabled"),
        (migrate("b2", "b2"), RefusalKind::Usage, "to itself"),
        (migrate("b9", "b2"), RefusalKind::NotFound, "no backend b9"),
        (migrate("b2", "b9"), RefusalKind::NotFound, "no backend b9"),
    ] {
        let refusal = super::step(&intent, &order).unwrap_err();
        assert_eq!(refusal.kind, kind);
        assert!(refusal.message.contains(expected), "{}", refusal.message);
    }
}

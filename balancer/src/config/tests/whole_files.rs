use std::{fs, path::Path};

use super::{
    super::{ConfigError, load},
    VALID, parse, parse_all, shown,
};

fn refusal(text: &str) -> String {
    parse(text, "f").unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    assert_eq!(
        refusal(""),
        "f:1:1: the file lacks \"version\"; add version = 1\n\
         f:1:1: [dataplane] lacks \"interfaces\"; add interfaces = [\"eth0\"]"
    );
}

#[test]
fn a_header_with_single_brackets_is_told_to_double_them() {
    assert_eq!(
        refusal(&VALID.replace("[[service]]", "[service]")),
        "f:4:1: service must be an array of tables, not a table; write each as [[service]]"
    );
    let inline = "version = 1\ndataplane.interfaces = ['eth0']\nservice = [1]";
    assert_eq!(
        refusal(inline),
        "f:3:12: service must be a table, not an integer; write it as [[service]]"
    );
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let text = r#"
version = 1
wat = 1
[dataplane]
interfaces = []
max_flows = 0
[[service]]
name = "a b"
address = "127.0.0.1"
ports = [0, 70000, 80, 80]
[[service.backend]]
address = "10.0.0.999"
weight = -1
[[service]]
protocol = "sctp"
"#;
    let expected = r#"
f:3:1: unknown key "wat" in the file; remove it; allowed here: version, dataplane, control, metrics, health, service
f:5:14: interfaces is empty; name at least one interface like ["eth0"]
f:6:13: max_flows = 0 is out of range; use 1 to 134217728
f:8:8: name = "a b" is not a name; use 1 to 63 of the characters A-Z a-z 0-9 . _ -
f:9:11: address = "127.0.0.1" is a loopback address; use an address that clients can reach
f:10:10: port = 0 is out of range; use 1 to 65535
f:10:13: port = 70000 is out of range; use 1 to 65535
f:10:24: port 80 is already on line 10; remove one of the two
f:12:11: address = "10.0.0.999" is not an IP address with or without a port; write it like "10.0.0.11:80", "10.0.0.11" or "[2001:db8::1]:80"
f:13:10: weight = -1 is out of range; use 0 to 65535
f:14:1: [[service]] lacks "name"; add name = "web"
f:14:1: [[service]] lacks "address"; add address = "192.0.2.10"
f:14:1: [[service]] lacks "ports"; add ports = [80, 443], or ports = [] for every port
f:15:12: protocol = "sctp" is unknown; use "tcp" or "udp""#;
    assert_eq!(refusal(text), expected.trim_start());
}

#[test]
fn a_byte_order_mark_moves_no_column() {
    assert!(refusal("\u{feff}version = 2").starts_with("f:1:11: "));
    assert!(parse(&format!("\u{feff}{VALID}"), "f").is_ok());
}

#[test]
fn backends_beyond_what_the_largest_table_serves_evenly_ask_for_the_largest() {
    let warnings = |size: u32| {
        let backend = |number| {
            let [.., high, low] = u32::to_be_bytes(number);
            format!("[[service.backend]]\naddress = \"10.1.{high}.{low}\"\n")
        };
        let text = VALID.replace("[80]", &format!("[80]\nmaglev_size = {size}"));
        let text = text + &(0..7000).map(backend).collect::<String>();
        shown(&parse_all(&text).unwrap().warnings)
    };
    assert_eq!(warnings(655_373), "");
    assert!(warnings(65_537).ends_with("use 655373"));
}

#[test]
fn tables_that_are_too_large_together_are_refused() {
    let services = |tracking: &str| {
        let service = |number: u16| {
            let [high, low] = number.to_be_bytes();
            format!(
                "[[service]]\nname = \"s{number}\"\naddress = \"10.7.{high}.{low}\"\nports = [80]\nprotocol = \"tcp\"\n\
                 maglev_size = 655373\ntracking = \"{tracking}\"\n"
            )
        };
        let services: String = (1..=700).map(service).collect();
        format!("version = 1\n[dataplane]\ninterfaces = [\"eth0\"]\n{services}")
    };
    assert!(parse(&services("full"), "f").is_ok());
    assert_eq!(
        refusal(&services("changes")),
        "f:1:1: the Maglev tables of all services take up to 3510 MiB, and there is room for 2688; lower maglev_size where services \
         have few backends"
    );
}

#[test]
fn a_file_is_read_from_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balancer.toml");
    let shown = path.display();

    let missing = load(&path).unwrap_err();
    assert!(matches!(missing, ConfigError::Unreadable { .. }));
    assert_eq!(
        missing.to_string(),
        format!("{shown}: cannot be read (No such file or directory (os error 2)); check the path and its permissions")
    );
    assert!(matches!(load(Path::new("/")), Err(ConfigError::Unreadable { .. })));

    fs::write(&path, b"version = 1\n# caf\xe9\n").unwrap();
    assert_eq!(
        load(&path).unwrap_err().to_string(),
        format!("{shown}:2:6: the file is not UTF-8 from here on; save it as UTF-8")
    );

    fs::write(&path, VALID.replace("eth0", "eth/0")).unwrap();
    assert!(
        load(&path)
            .unwrap_err()
            .to_string()
            .starts_with(&format!("{shown}:3:15: "))
    );

    fs::write(&path, VALID).unwrap();
    assert_eq!(load(&path).unwrap(), parse(VALID, "f").unwrap());
}

//! The cases of `cases/`, described in its README.

use super::{VALID, parse_all, shown};

/// [`VALID`] with another text for one line.
fn with(line: usize, replacement: &str) -> String {
    let replaced = |(index, old)| if index + 1 == line { replacement } else { old };
    let lines: Vec<&str> = VALID.lines().enumerate().map(replaced).collect();
    lines.join("\n")
}

/// Everything that is told of a file, as the cases write it.
fn told(text: &str) -> String {
    let told = match parse_all(text) {
        Ok(loaded) if loaded.warnings.is_empty() => "valid".to_owned(),
        Ok(loaded) => shown(&loaded.warnings).replace("test.toml:", "warning "),
        Err(error) => error.to_string(),
    };
    told.replace("test.toml:", "")
}

fn check(cases: &str) {
    for case in cases.split("\n\n").filter(|case| !case.starts_with('#')) {
        let (line, rest) = case.split_once('\n').unwrap();
        let line = line.strip_prefix("line ").unwrap().parse().unwrap();
        let (replacement, expected): (Vec<&str>, Vec<&str>) = rest.lines().partition(|line| line.starts_with("    "));
        let replacement: Vec<&str> = replacement.iter().map(|line| &line[4..]).collect();
        let text = with(line, &replacement.join("\n"));
        assert_eq!(told(&text), expected.join("\n"), "in:\n{text}");
    }
}

#[test]
fn syntax_tables_keys_and_types_are_checked() {
    check(include_str!("cases/structure.txt"));
}

#[test]
fn the_data_plane_and_its_surroundings_are_checked() {
    check(include_str!("cases/dataplane.txt"));
}

#[test]
fn services_are_checked() {
    check(include_str!("cases/service.txt"));
}

#[test]
fn backends_are_checked() {
    check(include_str!("cases/backend.txt"));
}

#[test]
fn health_checks_are_checked() {
    check(include_str!("cases/health.txt"));
}

#[test]
fn what_concerns_single_clients_is_checked() {
    check(include_str!("cases/clients.txt"));
}

#[test]
fn connection_ids_are_checked() {
    check(include_str!("cases/quic.txt"));
}

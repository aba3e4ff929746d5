use proptest::prelude::*;

use super::{super::export, ConfigError, Diagnostic, FULL_EXAMPLE, parse_all};

/// Cuts, repeats, replaces or adds a piece of text, between arbitrary characters.
fn mutate(text: &str, (at, length, what): &(prop::sample::Index, usize, Option<String>)) -> String {
    let chars: Vec<char> = text.chars().collect();
    let start = at.index(chars.len() + 1);
    let end = (start + length).min(chars.len());
    let piece = match what {
        Some(replacement) => replacement.clone(),
        None => chars[start..end].iter().chain(&chars[start..end]).collect(),
    };
    let before: String = chars[..start].iter().collect();
    let after: String = chars[end..].iter().collect();
    before + &piece + &after
}

fn token() -> impl Strategy<Value = Option<String>> {
    const TOKENS: &[&str] = &[
        "",
        "\n",
        "=",
        ".",
        ",",
        "\"",
        "'''",
        "[",
        "]]",
        "{",
        "}",
        "#",
        "0",
        "-1",
        "1e999",
        "nan",
        "9999999999999999999",
        "0x_",
        "true",
        "1979-05-27",
        "\"\"",
        "\"0s\"",
        "\"::1\"",
        "é",
        "\u{0}",
        "\u{feff}",
        "\r",
        "[service]\n",
        "[[service]]\n",
        "[[service.backend]]\n",
    ];
    prop_oneof![
        Just(None),
        prop::sample::select(TOKENS).prop_map(|token| Some(token.to_owned())),
        any::<String>().prop_map(Some),
    ]
}

/// Gives the keys on some lines other values.
fn revalue(text: &str, values: &[(prop::sample::Index, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let count = lines.len();
    for (line, value) in values {
        let line = &mut lines[line.index(count)];
        if let Some((key, _)) = line.split_once('=') {
            *line = format!("{key}= {value}");
        }
    }
    lines.join("\n")
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0_u32..=70_000).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").to_lowercase()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        prop::sample::select(
            &[
                "'tcp'",
                "'none'",
                "'https'",
                "{ hex = '01ff' }",
                "{ regex = '(' }",
                "'nat'",
                "'dsr'",
                "'0s'",
                "'1y'",
                "'99999999999y'",
                "'::'",
                "'::/0'",
                "'10.1.0.0/16'",
                "'10.0.0.11'",
                "'192.0.2.10'",
                "'[2001:db8::1]:80'",
                "'/'",
                "''",
                "0xff",
                "1979-05-27",
                "07:32:00"
            ][..]
        )
        .prop_map(str::to_owned),
        any::<String>().prop_map(|string| toml::Value::String(string).to_string()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
            inner.prop_map(|value| format!("{{ rate = {value} }}")),
        ]
    })
}

/// Checks what must hold of any text, valid or not.
fn check(text: &str) {
    match parse_all(text) {
        Ok(loaded) => assert_eq!(parse_all(&export(&loaded.config)).unwrap().config, loaded.config),
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                check_place(text, problem);
            }
        }
        Err(unreadable) => panic!("{unreadable}"),
    }
}

fn check_place(text: &str, problem: &Diagnostic) {
    let Diagnostic {
        line, column, message, ..
    } = problem;
    let content = text.split('\n').nth(line - 1);
    assert!(content.is_some(), "{problem}");
    let characters = content.map_or(0, |content| content.chars().count());
    assert!((1..=characters + 1).contains(column), "{problem}");
    assert!(!message.is_empty() && !message.contains('\n'), "{problem}");
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn no_mutation_of_a_valid_file_is_too_strange(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, token()), 1..8),
    ) {
        check(&mutations.iter().fold(FULL_EXAMPLE.to_owned(), |text, mutation| mutate(&text, mutation)));
    }

    #[test]
    fn no_value_is_too_strange(values in prop::collection::vec((any::<prop::sample::Index>(), value()), 1..6)) {
        check(&revalue(FULL_EXAMPLE, &values));
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        check(&format!("version = {}1{}", open.repeat(100_000), close.repeat(100_000)));
    }
    check(&format!("version{} = 1", ".a".repeat(100_000)));
}

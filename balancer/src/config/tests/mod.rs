mod cases;
mod example;
mod robustness;
mod round_trip;
mod whole_files;

use super::{ConfigError, Diagnostic, Loaded, parse};

/// The example of the manual, which uses every table and key.
const FULL_EXAMPLE: &str = include_str!("example.toml");

/// A short file that is valid.
const VALID: &str = include_str!("cases/valid.toml");

fn parse_all(text: &str) -> Result<Loaded, ConfigError> {
    parse(text, "test.toml")
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

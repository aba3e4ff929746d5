//! Configuration: from a TOML file to the validated [`Config`] and back.
//!
//! The file is parsed into a tree whose every node knows its place. `reader` walks the tree against `schema` and refuses
//! what does not belong; `sections`, `service`, `backend`, `health` and `clients` turn what they are handed into the model
//! and check what must hold between values. None of them stops at the first problem: `report` collects them all.

mod backend;
mod clients;
mod diagnostic;
mod export;
mod health;
mod model;
mod quic;
mod reader;
mod report;
mod schema;
mod sections;
mod service;
mod source_addresses;
mod values;
mod wording;

#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use toml::de::DeTable;

use self::{
    reader::{Reader, Table},
    report::{Read, Report},
};

pub use self::{
    backend::DEFAULT_WEIGHT,
    diagnostic::{ConfigError, Diagnostic},
    export::{export, export_service},
    model::*,
    values::{backend_address, hex, server_id},
};

/// What diagnostics call a configuration that is no file.
const IN_MEMORY: &str = "";

/// A configuration that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is valid but hardly meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and validates the configuration file at `path`.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    parse(&read(path)?, &path.display().to_string())
}

/// Reads the configuration file at `path`, and validates nothing but that it is text.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let file = path.display().to_string();
    let bytes = fs::read(path).map_err(|cause| ConfigError::Unreadable {
        file: file.clone(),
        cause,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let report = Report::new(&file, valid);
        report.refuse(valid.len(), "the file is not UTF-8 from here on; save it as UTF-8");
        report.into_error()
    })
}

/// Validates the configuration in `text`; diagnostics call it `file`.
pub fn parse(text: &str, file: &str) -> Result<Loaded, ConfigError> {
    // Some editors write a byte order mark, which no column should count.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(file, text);
    let config = document(text, &report).and_then(|document| {
        let reader = Reader { report: &report };
        sections::config(Table::root(&reader, &document))
    });
    let (config, warnings) = report.conclude(config)?;
    Ok(Loaded { config, warnings })
}

/// Reads the service that `text`, one `[[service]]` table, would add to `config`.
///
/// # Errors
///
/// If it is not valid, or does not fit the others. The places have no meaning.
pub fn parse_service(text: &str, config: &Config) -> Result<Option<Service>, ConfigError> {
    let mut loaded = parse(&(export(config) + text), IN_MEMORY)?;
    let added = loaded.config.services.len() > config.services.len();
    Ok(loaded.config.services.pop().filter(|_| added))
}

/// Checks a configuration that was put together of valid parts: what must hold between them. The places of what is refused
/// are those in its [exported](export) form.
pub fn validate(config: &Config) -> Result<Loaded, ConfigError> {
    parse(&export(config), IN_MEMORY)
}

/// Parses TOML. The recovered parts of a broken file are not looked at: what they lack may be in the broken ones.
fn document<'t>(text: &'t str, report: &Report<'_>) -> Read<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let refusals = errors.iter().map(|error| {
        let place = error.span().map_or(0, |span| span.start);
        report.refuse(place, format!("this is not TOML: {}", error.message()))
    });
    match refusals.last() {
        Some(refused) => Err(refused),
        None => Ok(document.into_inner()),
    }
}

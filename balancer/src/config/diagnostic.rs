//! What users are told about a configuration.

use std::{fmt, io};

/// A remark on a configuration and its place. Displayed as `FILE:LINE:COLUMN: what and how to mend it`, always one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named to the parser.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{file}: cannot be read ({cause}); check the path and its permissions")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The file was read and is not valid; every problem, in the order of the file.
    #[error("{}", one_per_line(.0))]
    Invalid(Vec<Diagnostic>),
}

impl ConfigError {
    /// What is wrong, without its places: for a configuration that is no file.
    pub fn without_places(&self) -> String {
        match self {
            Self::Unreadable { .. } => self.to_string(),
            Self::Invalid(diagnostics) => {
                let messages: Vec<&str> = diagnostics.iter().map(|diagnostic| &*diagnostic.message).collect();
                messages.join("; ")
            }
        }
    }
}

fn one_per_line(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

//! What the daemon counts, on disk.
//!
//! It is written before each scrape is answered: whatever has been told is what the next daemon begins with, however this
//! one ends. It is not forced to the disk, so after a power failure counters may begin anew.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::histogram::Figures;
use crate::controller::BackendKey;

/// Everything that is kept.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Readings of the configuration that succeeded, and that failed.
    pub(super) reloads: [u64; 2],
    /// How long building Maglev tables took.
    pub(super) table_builds: Figures,
    /// The probes of each backend.
    pub(super) probes: Vec<(BackendKey, KeptProbes)>,
}

/// What is kept of the probes of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptProbes {
    /// Those that succeeded, and that failed.
    pub(super) results: [u64; 2],
    /// How long they took.
    pub(super) durations: Figures,
}

impl Kept {
    /// What `file` holds; nothing if there is none or it cannot be read.
    pub(super) fn read(file: &Path) -> Self {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!("counters begin anew, as {} cannot be read: {error}", file.display());
                return Self::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(
                "counters begin anew, as {} says nothing of use: {error}",
                file.display()
            );
            Self::default()
        })
    }

    /// Replaces `file` as a whole.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self).context("cannot write counters as JSON")?;
        let new = file.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("cannot keep counters in {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_no_use_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics");
        assert_eq!(Kept::read(&file), Kept::default());
        fs::write(&file, "no JSON").unwrap();
        assert_eq!(Kept::read(&file), Kept::default());
        let kept = Kept {
            reloads: [1, 2],
            ..Kept::default()
        };
        kept.write(&file).unwrap();
        assert_eq!(Kept::read(&file), kept);
    }
}

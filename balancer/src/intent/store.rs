//! Where run-time changes survive restarts: one file in the directory `control.state`.
//!
//! The file is there only while something differs from the configuration file, so a daemon that nobody has changed at run
//! time writes nothing.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{Intent, Migration};
use crate::config::{self, ConfigError};

/// The version of the record that this program reads and writes.
const VERSION: u32 = 1;

const FILE: &str = "state.json";

/// The state directory, which one daemon has for itself.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    /// The directory; holds the lock for as long as it is open.
    lock: File,
}

/// What is on disk. Both configurations are in the format of the configuration file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    file: String,
    running: String,
    migrations: Vec<Migration>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is cut short, or not a record.
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// One of the configurations in it is not valid.
    #[error("it holds a configuration that is not valid: {0}")]
    Invalid(#[from] ConfigError),
    /// The system does not give it.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Store {
    /// Opens the directory, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or another daemon keeps its changes there.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        fs::create_dir_all(directory).with_context(|| format!("cannot make control.state {shown}"))?;
        let lock = File::open(directory).with_context(|| format!("cannot open control.state {shown}"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                bail!("another daemon keeps its run-time changes in {shown}: give this one its own control.state")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot lock control.state {shown}")),
        }
        Ok(Self {
            directory: directory.to_owned(),
            lock,
        })
    }

    /// What an earlier daemon left; `None` if nothing was changed at run time. A record that cannot be used is set aside,
    /// with an error in the log.
    pub fn read(&self) -> Option<Intent> {
        let path = self.directory.join(FILE);
        let unreadable = match read(&path) {
            Ok(intent) => return intent,
            Err(unreadable) => unreadable,
        };
        let path = path.display();
        match self.set_aside() {
            Ok(aside) => tracing::error!(
                "run-time changes are lost, the configuration file alone counts: {path} could not be used, {unreadable}; \
                 it is kept as {}",
                aside.display()
            ),
            Err(error) => tracing::error!(
                "run-time changes are lost, the configuration file alone counts: {path} could not be used, {unreadable}; \
                 nor could it be renamed: {error}"
            ),
        }
        None
    }

    /// Keeps `intent`, so that after a crash at any moment either it or what was kept before is read.
    pub fn write(&self, intent: &Intent) -> anyhow::Result<()> {
        let path = self.directory.join(FILE);
        self.replace(&path, intent)
            .with_context(|| format!("cannot keep what was changed at run time in {}", path.display()))
    }

    fn replace(&self, path: &Path, intent: &Intent) -> io::Result<()> {
        if intent.running == intent.file && intent.migrations.is_empty() {
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                removed => removed?,
            }
        } else {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(encode(intent).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
        }
        self.lock.sync_all()
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let aside = self.directory.join(format!("{FILE}.corrupt-{}", time.as_secs()));
        fs::rename(self.directory.join(FILE), &aside)?;
        Ok(aside)
    }
}

fn read(path: &Path) -> Result<Option<Intent>, Unreadable> {
    match fs::read(path) {
        Ok(bytes) => decode(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn encode(intent: &Intent) -> String {
    let record = Record {
        version: VERSION,
        file: config::export(&intent.file),
        running: config::export(&intent.running),
        migrations: intent.migrations.clone(),
    };
    serde_json::to_string_pretty(&record).expect("strings and numbers have a JSON form")
}

fn decode(bytes: &[u8]) -> Result<Intent, Unreadable> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let record: Record = serde_json::from_slice(bytes)?;
    Ok(Intent {
        file: config::parse(&record.file, "file")?.config,
        running: config::parse(&record.running, "running")?.config,
        migrations: record.migrations,
    })
}

#[cfg(test)]
mod tests;

//! What remains of run-time changes when the file is read again.

use super::{Change, Intent, changes};
use crate::config::{self, Config};

/// An intent after the file was read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The intent.
    pub intent: Intent,
    /// Run-time changes that go on.
    pub kept: Vec<Change>,
    /// Run-time changes that ended, each with the reason. Those that the file now says itself are not among them.
    pub ended: Vec<(Change, String)>,
}

impl Intent {
    /// Takes in the daemon's file, which may have changed.
    ///
    /// A run-time change goes on until the file changes the same thing, the whole that it is part of, or a part of it. It
    /// ends too where it no longer fits what the file says.
    pub fn with_file(&self, file: Config) -> Merged {
        let of_file = changes(&self.file, &file);
        let mut kept = Vec::new();
        let mut ended = Vec::new();
        for change in self.changes() {
            if of_file.contains(&change) {
                continue;
            }
            if of_file.iter().any(|other| other.overlaps(&change)) {
                ended.push((change, "the file has changed the same since".to_owned()));
            } else {
                kept.push(change);
            }
        }
        let running = match applied(&file, &kept) {
            Ok(running) => running,
            Err(_) => fitting(&file, &mut kept, &mut ended),
        };
        Merged {
            intent: Self {
                file,
                running,
                migrations: self.migrations.clone(),
            },
            kept,
            ended,
        }
    }

    /// Takes `running` for everything that is wanted from now on. `file` is the daemon's own as it is now: what it says
    /// later is compared with that.
    pub fn replaced(running: Config, file: Config) -> Self {
        Self {
            file,
            running,
            migrations: Vec::new(),
        }
    }
}

/// The file with all `changes`, or why that is not possible.
fn applied(file: &Config, changes: &[Change]) -> Result<Config, String> {
    let mut config = file.clone();
    for change in changes {
        change.apply(&mut config).map_err(|error| error.to_string())?;
    }
    config::validate(&config).map_err(|error| error.without_places())?;
    Ok(config)
}

/// The file with as many of the changes, one after the other, as fit it. The others end.
fn fitting(file: &Config, kept: &mut Vec<Change>, ended: &mut Vec<(Change, String)>) -> Config {
    let mut config = file.clone();
    let candidates = std::mem::take(kept);
    for change in candidates {
        match applied(&config, std::slice::from_ref(&change)) {
            Ok(changed) => {
                config = changed;
                kept.push(change);
            }
            Err(why) => ended.push((change, why)),
        }
    }
    config
}

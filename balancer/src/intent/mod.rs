//! What the operator wants: the configuration file, and what was changed at run time.
//!
//! The daemon remembers two configurations: its own file as it read it last, and the one that it runs. What differs was
//! changed at run time. `change` names single differences, `difference` finds them, `merge` decides which of them outlive
//! another reading of the file, and `store` keeps both configurations on disk. All but `store` is pure.

mod change;
mod difference;
mod fixed;
mod merge;
mod store;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::config::Config;

pub use change::{Change, Endpoint, Impossible, Modification};
pub use difference::changes;
pub use fixed::fixed_differences;
pub use merge::Merged;
pub use store::{Store, Unreadable};

/// What the operator wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The daemon's own file as it was read last.
    pub file: Config,
    /// What the balancer is to run.
    pub running: Config,
    /// Orders to move clients that may not have been carried out yet.
    pub migrations: Vec<Migration>,
}

/// An order to move the clients of one backend to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The service's name.
    pub service: String,
    /// Whose clients are moved.
    pub from: Endpoint,
    /// Whose they are from now on.
    pub to: Endpoint,
    /// Whether TCP connections that are open move as well.
    pub flows: bool,
}

impl Intent {
    /// The file and nothing else.
    pub fn of_file(file: Config) -> Self {
        Self {
            running: file.clone(),
            file,
            migrations: Vec::new(),
        }
    }

    /// What was changed at run time.
    pub fn changes(&self) -> Vec<Change> {
        changes(&self.file, &self.running)
    }
}

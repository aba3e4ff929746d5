//! Changes of state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wording::{counted, grouped};

/// A change of state, with its cause and its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one with each event of a daemon, from 1.
    pub number: u64,
    /// When, in UTC, as RFC 3339 writes it.
    pub time: String,
    /// What has changed, and why.
    #[serde(flatten)]
    pub change: Change,
}

/// What has changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind of change it is.
    pub kind: EventKind,
    /// The service, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// The backend, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<String>,
    /// Why, or for [`EventKind::Changed`] what.
    pub cause: String,
    /// What it does to clients and flows, if that is known.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub effect: Option<Effect>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A backend has passed its health check.
    Up,
    /// A backend has failed its health check.
    Down,
    /// A backend passes its health check, but is held down since it went down too often.
    Damped,
    /// Live traffic has taken a backend out of service.
    Ejected,
    /// A backend that was is tried again.
    Readmitted,
    /// Packets can leave the host for a backend again.
    Reachable,
    /// Packets for a backend cannot leave the host.
    Unreachable,
    /// A packet has come for a suspended backend.
    Woken,
    /// A backend carries well more than its share of the flows.
    Hot,
    /// A backend that did no longer does.
    Even,
    /// An operator has changed what runs.
    Changed,
}

/// What a change does to the clients and flows of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Slots of the Maglev table that the backend has lost or got.
    pub slots_moved: u64,
    /// Live flows that belonged to the backend and go to others.
    pub flows_moved: u64,
    /// Live flows of the service that stay where they are.
    pub flows_kept: u64,
}

/// As in the log: `web/b2 down: status 503 ×3; 21,845 slots moved, 14 live flows moved, 28 kept`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == EventKind::Changed {
            // It names what it is about itself.
            return f.write_str(&self.cause);
        }
        if let Some(service) = &self.service {
            write!(f, "{service}")?;
        }
        if let Some(backend) = &self.backend {
            write!(f, "/{backend}")?;
        }
        write!(f, " {}: {}", self.kind, self.cause)?;
        if let Some(effect) = self.effect {
            write!(f, "; {effect}")?;
        }
        Ok(())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Damped => "damped",
            Self::Ejected => "ejected",
            Self::Readmitted => "readmitted",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Woken => "woken",
            Self::Hot => "hot",
            Self::Even => "even",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} moved", counted(self.slots_moved, "slot", "slots"))?;
        match (self.flows_moved, self.flows_kept) {
            (0, 0) => Ok(()),
            (0, kept) => write!(f, ", {} kept", counted(kept, "live flow", "live flows")),
            (moved, 0) => write!(f, ", {} moved", counted(moved, "live flow", "live flows")),
            (moved, kept) => write!(
                f,
                ", {} moved, {} kept",
                counted(moved, "live flow", "live flows"),
                grouped(kept)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(effect: Option<Effect>) -> Change {
        Change {
            kind: EventKind::Down,
            service: Some("web".to_owned()),
            backend: Some("b2".to_owned()),
            cause: "status 503 ×3".to_owned(),
            effect,
        }
    }

    #[test]
    fn a_line_has_cause_and_effect() {
        let effect = |slots_moved, flows_moved, flows_kept| {
            Some(Effect {
                slots_moved,
                flows_moved,
                flows_kept,
            })
        };
        for (effect, expected) in [
            (None, ""),
            (effect(1, 0, 0), "; 1 slot moved"),
            (effect(21_845, 0, 14), "; 21,845 slots moved, 14 live flows kept"),
            (effect(21_845, 1, 0), "; 21,845 slots moved, 1 live flow moved"),
            (effect(0, 14, 2_800), "; 0 slots moved, 14 live flows moved, 2,800 kept"),
        ] {
            assert_eq!(
                down(effect).to_string(),
                format!("web/b2 down: status 503 ×3{expected}")
            );
        }
    }

    #[test]
    fn json_is_flat_and_without_what_is_not_known() {
        let event = Event {
            number: 7,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            change: down(Some(Effect {
                slots_moved: 3,
                flows_moved: 2,
                flows_kept: 1,
            })),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "number": 7, "time": "2026-01-02T03:04:05.678Z", "kind": "down", "service": "web", "backend": "b2",
                "cause": "status 503 ×3", "slots_moved": 3, "flows_moved": 2, "flows_kept": 1,
            })
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        let event = Event {
            change: down(None),
            ..event
        };
        let json = serde_json::to_value(&event).unwrap();
        assert!(json.get("slots_moved").is_none());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}

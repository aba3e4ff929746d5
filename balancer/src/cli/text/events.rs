//! `events`

use crate::control::protocol::Event;

/// `events`
pub(in crate::cli) fn events(events: &[Event]) -> String {
    if events.is_empty() {
        return "nothing has changed since the daemon started".to_owned();
    }
    let lines: Vec<_> = events.iter().map(event).collect();
    lines.join("\n")
}

/// One line of `events`.
pub(in crate::cli) fn event(event: &Event) -> String {
    format!("{}  {}", event.time, event.change)
}

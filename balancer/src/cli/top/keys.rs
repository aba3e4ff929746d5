//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{screen::Screen, view::View};

/// The keys, for those who look at them.
pub(super) const HELP: &str = "q quit   ↑↓ select   s sort   tab service";

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

/// Does what a key is for.
pub(super) fn press(key: KeyEvent, screen: &mut Screen, view: &View) -> Next {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
        // The terminal sends no signal while keys come one by one.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::Quit,
        KeyCode::Down | KeyCode::Char('j') => screen.select(1, view),
        KeyCode::Up | KeyCode::Char('k') => screen.select(-1, view),
        KeyCode::Char('s') => screen.sort = screen.sort.next(),
        KeyCode::Tab => screen.next_service(view),
        _ => {}
    }
    Next::Stay
}

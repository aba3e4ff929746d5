//! `top`: what goes on right now, on the whole screen.

mod draw;
mod keys;
mod screen;
mod view;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal, Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyEventKind},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::{keys::Next, screen::Screen, view::View};
use super::{args::TopArgs, commands::unexpected, failure::Failure};
use crate::control::{
    client,
    protocol::{Figures, Request, Response},
};

/// How long a key may wait for what comes of it, and a signal too.
const REACTION: Duration = Duration::from_millis(50);

/// Columns of a frame that is written as text.
const WIDTH: u16 = 120;

/// The figures of one moment.
struct Sample {
    figures: Figures,
    taken: Instant,
}

/// Executes `top`.
pub(super) fn execute(socket: &Path, args: &TopArgs) -> Result<(), Failure> {
    let interval = args.interval;
    let first = sample(socket)?;
    if args.once {
        thread::sleep(interval);
        return write_once(&view_between(&first, &sample(socket)?));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "`top` needs a terminal: run it in one, or have `top --once` write one frame".to_owned(),
        ));
    }
    let end = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&end))?;
    }
    // It has the terminal restored after a panic as well.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, socket, interval, first, &end);
    ratatui::try_restore()?;
    shown
}

/// Shows the figures until a key or a signal ends it.
fn show(
    terminal: &mut DefaultTerminal,
    socket: &Path,
    interval: Duration,
    mut last: Sample,
    end: &AtomicBool,
) -> Result<(), Failure> {
    let mut screen = Screen::default();
    let mut view = View::new(&last.figures, None);
    while !end.load(Ordering::Relaxed) {
        terminal.draw(|frame| draw::draw(frame, &view, &mut screen))?;
        if event::poll(REACTION)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && keys::press(key, &mut screen, &view) == Next::Quit
        {
            break;
        }
        if last.taken.elapsed() >= interval {
            match sample(socket) {
                Ok(sample) => {
                    view = view_between(&last, &sample);
                    last = sample;
                }
                // A daemon that is restarted comes back, and the data plane counts on.
                Err(failure) => {
                    view.trouble = Some(failure.to_string());
                    last.taken = Instant::now();
                }
            }
        }
    }
    Ok(())
}

fn sample(socket: &Path) -> Result<Sample, Failure> {
    match client::ask(socket, &Request::Figures)? {
        Response::Figures(figures) => Ok(Sample {
            figures: *figures,
            taken: Instant::now(),
        }),
        other => Err(unexpected(&other)),
    }
}

fn view_between(before: &Sample, now: &Sample) -> View {
    View::new(
        &now.figures,
        Some((&before.figures, now.taken.duration_since(before.taken))),
    )
}

/// Writes one frame as lines of text, as high as it has to be.
fn write_once(view: &View) -> Result<(), Failure> {
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, draw::full_height(view))).context("cannot draw")?;
    let drawn = terminal.draw(|frame| draw::draw(frame, view, &mut Screen::default()));
    let buffer = drawn.context("cannot draw")?.buffer;
    let mut out = io::stdout().lock();
    for row in buffer.content.chunks(buffer.area.width.into()) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The view on the screen.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Gauge, Paragraph, Row, Table, TableState},
};

use super::{
    keys,
    screen::Screen,
    view::{BackendRow, Rates, ServiceRow, View},
};

/// From this share on a flow table is nearly full.
const NEARLY_FULL: f64 = 0.9;

/// Lines that are neither services nor backends: two at the top, two headings with a gap, drops and keys.
const FRAME: usize = 7;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, screen: &mut Screen) {
    let services = u16::try_from(view.services.len() + 2).unwrap_or(u16::MAX);
    let [head, gauge, services, backends, drops, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(services.min(frame.area().height / 3)),
        Constraint::Min(2),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(view), head);
    draw_pressure(frame, view, gauge);
    frame.render_widget(service_table(view), services);
    draw_backends(frame, view, screen, backends);
    frame.render_widget(drop_line(view), drops);
    let foot_line = format!("{}   sorted by {}", keys::HELP, screen.sort.name());
    frame.render_widget(Line::from(foot_line).style(Style::new().dim()), foot);
}

/// Lines on which everything has room.
pub(super) fn full_height(view: &View) -> u16 {
    // Services get at most a third.
    let lines = FRAME + view.backends.len() + view.services.len();
    u16::try_from(lines.max(3 * (view.services.len() + 2))).unwrap_or(u16::MAX)
}

fn headline(view: &View) -> Line<'_> {
    if let Some(trouble) = &view.trouble {
        return Line::from(trouble.as_str()).style(Style::new().fg(Color::Red));
    }
    let uptime = humantime::format_duration(Duration::from_secs(view.uptime.as_secs()));
    Line::from(format!(
        "balancer {}, up {uptime}, generation {}",
        view.version, view.generation
    ))
    .style(Style::new().bold())
}

fn draw_pressure(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let color = if view.pressure() >= NEARLY_FULL {
        Color::Red
    } else {
        Color::Green
    };
    let label = format!(
        "flows {} of {} ({:.1} %), {} evicted/s",
        view.flows,
        view.max_flows,
        view.pressure() * 100.0,
        number(view.evictions)
    );
    let gauge = Gauge::default().gauge_style(Style::new().fg(color)).label(label);
    frame.render_widget(gauge.ratio(view.pressure()), area);
}

fn service_table(view: &View) -> Table<'_> {
    let rows = view.services.iter().map(service_row);
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let header = ["SERVICE", "ADDRESS"].map(Cell::from).into_iter();
    let header = header.chain(["UP", "FLOWS", "NEW/S", "PACKETS/S", "BIT/S"].map(right));
    Table::new(rows, widths).header(Row::new(header).style(Style::new().dim()))
}

fn service_row(service: &ServiceRow) -> Row<'_> {
    let (up, all) = service.up;
    let up = right(format!("{up}/{all}")).style(if service.up.0 < all {
        Style::new().fg(Color::Yellow)
    } else {
        Style::new()
    });
    let cells = [Cell::from(&*service.name), Cell::from(&*service.address), up];
    Row::new(
        cells
            .into_iter()
            .chain([right(service.flows.to_string())])
            .chain(rate_cells(service.rates)),
    )
}

fn draw_backends(frame: &mut Frame<'_>, view: &View, screen: &mut Screen, area: Rect) {
    let backends = screen.backends(view);
    screen.selected = screen.selected.min(backends.len().saturating_sub(1));
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let header = ["SERVICE", "BACKEND", "STATE"].map(Cell::from).into_iter();
    let header = header.chain(["GIVEN", "CARRIED", "FLOWS", "NEW/S", "PACKETS/S", "BIT/S"].map(right));
    let table = Table::new(backends.into_iter().map(backend_row), widths)
        .header(Row::new(header).style(Style::new().dim()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(screen.selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn backend_row(backend: &BackendRow) -> Row<'_> {
    let state = if backend.hot {
        format!("{} HOT", backend.state)
    } else {
        backend.state.to_owned()
    };
    let style = if backend.hot || !backend.is_well {
        Style::new().fg(Color::Red)
    } else {
        Style::new()
    };
    let cells = [
        Cell::from(&*backend.service),
        Cell::from(&*backend.name),
        Cell::from(state),
        right(percent(backend.given)),
        right(percent(backend.carried)),
        right(backend.flows.to_string()),
    ];
    Row::new(cells.into_iter().chain(rate_cells(backend.rates))).style(style)
}

fn rate_cells(rates: Rates) -> [Cell<'static>; 3] {
    [rates.new_flows, rates.packets, rates.bits].map(|rate| right(number(rate)))
}

/// The reasons for which packets are dropped now, or that none are.
fn drop_line(view: &View) -> Paragraph<'_> {
    let now = view.drops.iter().filter(|(_, rate)| *rate > 0.0);
    let reasons: Vec<_> = now
        .map(|(reason, rate)| format!("{reason} {}", number(*rate)))
        .collect();
    let (text, style) = if reasons.is_empty() {
        ("none".to_owned(), Style::new())
    } else {
        (reasons.join(", "), Style::new().fg(Color::Yellow))
    };
    Paragraph::new(Line::from(vec![Span::raw("drops/s: "), Span::styled(text, style)]))
}

fn right<'a>(text: impl Into<Line<'a>>) -> Cell<'a> {
    Cell::from(text.into().alignment(Alignment::Right))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A rate in few characters.
fn number(rate: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    match UNITS.iter().find(|(factor, _)| rate >= *factor) {
        Some((factor, unit)) => format!("{:.1}{unit}", rate / factor),
        None if rate > 0.0 && rate < 10.0 => format!("{rate:.1}"),
        None => format!("{rate:.0}"),
    }
}

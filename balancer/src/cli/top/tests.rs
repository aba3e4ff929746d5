//! What is on the screen, from figures and keys.

use std::{collections::BTreeMap, time::Duration};

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    draw,
    keys::{Next, press},
    screen::Screen,
    view::View,
};
use crate::{
    config::{Admin, Affinity, Forwarding, Protocol},
    control::protocol::{BackendCounts, BackendView, DataplaneView, Figures, ServiceView, Status},
    health::Health,
};

fn service(name: &str, packets: u64) -> ServiceView {
    ServiceView {
        name: name.to_owned(),
        address: [192, 0, 2, 10].into(),
        ports: vec![80],
        protocol: Protocol::Tcp,
        forwarding: Forwarding::Nat,
        affinity: Affinity::ClientIpPort,
        backends: 2,
        backends_up: 1,
        packets,
        bytes: 1_000 * packets,
        new_flows: packets / 10,
        reply_packets: packets,
        reply_bytes: 0,
    }
}

fn backend(service: &str, name: &str, flows: u64, packets: u64) -> BackendView {
    BackendView {
        service: service.to_owned(),
        name: name.to_owned(),
        address: format!("{name}:80"),
        weight: 100,
        admin: Admin::Active,
        health: Health::Up,
        ejected: false,
        failures: None,
        flows,
        packets,
        bytes: 0,
        new_flows: packets / 10,
        reply_packets: 0,
        reply_bytes: 0,
        share: 0.25,
        hot: false,
        unreachable: None,
    }
}

/// Two services, the first of which has two backends.
fn figures(packets: u64) -> Figures {
    let hot = BackendView {
        hot: true,
        ..backend("web", "b1", 30, packets)
    };
    let down = BackendView {
        health: Health::Down,
        ..backend("names", "b2", 500, packets / 2)
    };
    Figures {
        status: Status {
            version: "1.2.3".to_owned(),
            pid: 1,
            uptime_seconds: 61,
            dataplane: DataplaneView {
                interfaces: Vec::new(),
                generation: 7,
                flows: 950,
                max_flows: 1_000,
            },
            services: 2,
            backends: BackendCounts::default(),
        },
        services: vec![service("web", packets), service("names", 0)],
        backends: vec![backend("web", "b0", 10, 0), hot, down],
        drops: BTreeMap::from([("no_backend".to_owned(), packets / 2), ("malformed".to_owned(), 5)]),
        evictions: packets / 100,
    }
}

/// The view two seconds after nothing had passed.
fn view() -> View {
    let mut before = figures(0);
    before.drops = BTreeMap::from([("malformed".to_owned(), 5)]);
    View::new(&figures(4_000), Some((&before, Duration::from_secs(2))))
}

/// The lines on a screen.
fn screenshot(view: &View, screen: &mut Screen) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(110, 20)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(110);
    rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect())
        .collect()
}

fn line<'l>(lines: &'l [String], word: &str) -> &'l str {
    let line = lines.iter().find(|line| line.contains(word));
    line.unwrap_or_else(|| panic!("no line has {word}:\n{}", lines.join("\n")))
}

fn press_code(code: KeyCode, screen: &mut Screen, view: &View) -> Next {
    press(KeyEvent::new(code, KeyModifiers::NONE), screen, view)
}

fn names(screen: &Screen, view: &View) -> Vec<String> {
    screen.backends(view).iter().map(|row| row.name.clone()).collect()
}

#[test]
fn rates_are_what_counters_gain_in_a_second_and_shares_are_of_the_service() {
    let view = view();
    let web = &view.services[0];
    // Both ways, 4,000 packets each in two seconds.
    assert!(
        (web.rates.packets - 4_000.0).abs() < 1e-9 && (web.rates.new_flows - 200.0).abs() < 1e-9,
        "{web:?}"
    );
    assert!((web.rates.bits - 16e6).abs() < 1e-3, "{web:?}");
    assert_eq!(web.flows, 40);
    assert!((view.backends[1].carried - 0.75).abs() < 1e-9 && (view.backends[1].given - 0.25).abs() < 1e-9);
    assert!((view.pressure() - 0.95).abs() < 1e-9 && (view.evictions - 20.0).abs() < 1e-9);
    assert_eq!(
        view.drops,
        [("no_backend".to_owned(), 1_000.0), ("malformed".to_owned(), 0.0)]
    );
}

#[test]
fn what_has_come_or_begun_anew_has_no_rates_yet() {
    let mut before = figures(8_000);
    before.services.remove(0);
    let view = View::new(&figures(4_000), Some((&before, Duration::from_secs(1))));
    assert!(view.services[0].rates.packets.abs() < 1e-9, "it was not there");
    assert!(view.backends[1].rates.packets.abs() < 1e-9, "it counted further before");
    let first = View::new(&figures(4_000), None);
    assert!(first.services[0].rates.packets.abs() < 1e-9);
}

#[test]
fn the_screen_shows_services_backends_pressure_and_drops() {
    let lines = screenshot(&view(), &mut Screen::default());
    assert!(
        lines[0].starts_with("balancer 1.2.3, up 1m 1s, generation 7"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("flows 950 of 1000 (95.0 %), 20 evicted/s"),
        "{}",
        lines[1]
    );
    let web = line(&lines, "192.0.2.10");
    for part in ["web", "1/2", "40", "200", "4.0 k", "16.0 M"] {
        assert!(web.contains(part), "{part} in {web}");
    }
    let hot = line(&lines, "b1");
    for part in ["up HOT", "25.0 %", "75.0 %", "30", "2.0 k"] {
        assert!(hot.contains(part), "{part} in {hot}");
    }
    assert!(line(&lines, "b2").contains("down"));
    assert_eq!(line(&lines, "drops/s").trim_end(), "drops/s: no_backend 1.0 k");
}

#[test]
fn old_figures_are_said_to_be_old() {
    let mut view = view();
    view.trouble = Some("no daemon answers".to_owned());
    let lines = screenshot(&view, &mut Screen::default());
    assert!(lines[0].starts_with("no daemon answers"), "{}", lines[0]);
}

#[test]
fn keys_sort_select_narrow_and_quit() {
    let (view, mut screen) = (view(), Screen::default());
    for (sorted_by, expected) in [
        ("configuration", ["b0", "b1", "b2"]),
        ("flows", ["b2", "b1", "b0"]),
        ("packets", ["b1", "b2", "b0"]),
        ("new flows", ["b1", "b2", "b0"]),
        ("trouble", ["b1", "b2", "b0"]),
        ("configuration", ["b0", "b1", "b2"]),
    ] {
        assert_eq!(
            (screen.sort.name(), names(&screen, &view)),
            (sorted_by, expected.map(str::to_owned).into())
        );
        press_code(KeyCode::Char('s'), &mut screen, &view);
    }
    for (key, selected) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::Char('j'), 2),
        (KeyCode::Down, 2),
        (KeyCode::Char('k'), 1),
    ] {
        assert_eq!(press_code(key, &mut screen, &view), Next::Stay);
        assert_eq!(screen.selected, selected, "{key}");
    }
    for expected in [vec!["b0", "b1"], vec!["b2"], vec!["b0", "b1", "b2"]] {
        press_code(KeyCode::Tab, &mut screen, &view);
        let mut shown = names(&screen, &view);
        shown.sort();
        assert_eq!(shown, expected);
    }
    assert_eq!(press_code(KeyCode::Char('q'), &mut screen, &view), Next::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(interrupt, &mut screen, &view), Next::Quit);
    assert_eq!(press_code(KeyCode::Char('c'), &mut screen, &view), Next::Stay);
}

#[test]
fn a_frame_of_its_full_height_shows_every_backend() {
    let mut figures = figures(0);
    figures.backends = (0..60)
        .map(|number| backend("web", &format!("n{number}-"), 0, 0))
        .collect();
    let view = View::new(&figures, None);
    let mut terminal = Terminal::new(TestBackend::new(110, draw::full_height(&view))).unwrap();
    let drawn = terminal
        .draw(|frame| draw::draw(frame, &view, &mut Screen::default()))
        .unwrap();
    let text: String = drawn.buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
    for number in 0..60 {
        assert!(text.contains(&format!("n{number}-")), "n{number}-");
    }
}

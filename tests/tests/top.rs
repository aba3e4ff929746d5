//! `balancer top` in a terminal, and without one.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, Terminal, get, program};
use rustix::process::Signal;

const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);
/// What puts back the screen that was there before.
const LEAVE: &str = "\x1b[?1049l";

fn top(balancer: &Balancer<'_>) -> Command {
    let mut command = Command::new(program("balancer"));
    command
        .arg("--socket")
        .arg(&balancer.settings.socket)
        .args(["top", "--interval", "100ms"]);
    command
}

#[test]
fn top_shows_what_goes_on_and_leaves_the_terminal_as_it_was() {
    let network = Network::new(Arms::Two, 2);
    let _http = Farm::http(&network, 8080);
    let web = Service::tcp("web", Network::VIP, &[80]).backends(2, 8080);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &web.to_string());
    for (key, signal) in [(Some("q"), None), (None, Some(Signal::TERM))] {
        let mut terminal = Terminal::run(&mut top(&balancer), 100, 24).unwrap();
        // Only what is not blank is written, so no words with blanks between them.
        terminal.await_words(&["generation", "192.0.2.10", "b0", "b1", "drops/s:", "none"]);
        assert!(!terminal.is_cooked().unwrap());
        terminal.press("ss").unwrap();
        terminal.await_words(&["packets"]);
        if let Some(key) = key {
            terminal.press(key).unwrap();
        }
        if let Some(signal) = signal {
            terminal.signal(signal).unwrap();
        }
        assert!(terminal.wait().success(), "{}", terminal.written());
        terminal.await_words(&[LEAVE]);
        assert!(terminal.is_cooked().unwrap());
    }
}

#[test]
fn top_writes_one_frame_where_there_is_no_terminal_and_says_so_if_that_was_not_asked_for() {
    let network = Network::new(Arms::Two, 2);
    let _http = Farm::http(&network, 8080);
    let web = Service::tcp("web", Network::VIP, &[80]).backends(2, 8080);
    let balancer = Balancer::start(&network.balancer, &network.interfaces, &web.to_string());
    for _ in 0..10 {
        get(&network.client, VIP, "/").unwrap();
    }
    let refused = top(&balancer).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("top --once"), "{complaint}");

    let frame = top(&balancer).arg("--once").output().unwrap();
    assert!(frame.status.success(), "{}", String::from_utf8_lossy(&frame.stderr));
    let frame = String::from_utf8(frame.stdout).unwrap();
    let line = |word: &str| {
        frame
            .lines()
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("{frame}"))
    };
    let flows = line("192.0.2.10").split_whitespace().nth(3).unwrap();
    assert_eq!(flows, "10", "{frame}");
    assert!(line("b0").contains("50.0 %") && line("b1").contains("up"), "{frame}");
    assert!(line("drops/s").ends_with("none"), "{frame}");
    assert!(frame.lines().all(|line| !line.contains('\x1b')), "{frame:?}");
}

//! Commands of the operator's.

use std::{fs, net::SocketAddr, time::Duration};

use tokio::time;

use crate::harness::{Outcome, probe};

async fn shell(script: &str, lines: &str) -> Outcome {
    let address: SocketAddr = ([192, 0, 2, 7], 4321).into();
    let lines = format!("kind = 'command'\ncommand = ['/bin/sh', '-c', '''{script}''']\n{lines}");
    probe(&lines, address).await
}

#[tokio::test]
async fn exit_code_zero_and_nothing_else_is_a_success() {
    for (script, expected) in [
        ("exit 0", Ok(())),
        ("exit 1", Err("command failed: exit status: 1")),
        ("kill -9 $$", Err("command failed: signal: 9 (SIGKILL)")),
        (
            "yes | head -c 1000000; yes | head -c 1000000 >&2; read line; exit 3",
            Err("command failed: exit status: 3"),
        ),
    ] {
        assert_eq!(shell(script, "").await, expected.map_err(str::to_owned), "{script}");
    }
}

#[tokio::test]
async fn the_command_learns_whom_to_ask_and_nothing_of_the_daemon() {
    let lines = "env = { WHO = '{backend} at {address}', COUNT = '3' }";
    for script in [
        r#"test "{backend} {address} {port}" = "backend 192.0.2.7 4321""#,
        r#"test "$WHO $COUNT" = "backend at 192.0.2.7 3""#,
        r#"test -n "$PATH" -a -z "$HOME$CARGO_MANIFEST_DIR""#,
        r#"test "$(pwd)" = /"#,
    ] {
        assert_eq!(shell(script, lines).await, Ok(()), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_nothing_about_the_backend() {
    let lines = "kind = 'command'\ncommand = ['/nonexistent/check']";
    let failure = probe(lines, ([192, 0, 2, 7], 80).into()).await.unwrap_err();
    assert!(
        failure.starts_with("not probed: /nonexistent/check cannot be started"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("pids");
    let lines = format!("timeout = '2s'\nenv = {{ NOTE = '{}' }}", note.display());
    let script = "sleep 1000 & echo $$ $! > $NOTE; wait";
    assert_eq!(shell(script, &lines).await, Err("timed out".to_owned()));
    let pids = fs::read_to_string(note).unwrap();
    for pid in pids.split_whitespace() {
        time::timeout(Duration::from_mins(1), ended(pid))
            .await
            .expect("it should be dead by now");
    }
}

/// Waits until the process is gone, or dead and not yet waited for by its parent.
async fn ended(pid: &str) {
    while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.contains(") Z ") {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
}

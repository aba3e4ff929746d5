//! Connections that stand while the flood comes.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    bench::traffic::{connect, exchange},
    lab::{Namespace, SetOnDrop},
};

/// How many there are.
pub(super) const LIVE: usize = 20;
/// Between two requests of one of them.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of an answer.
const ANSWER: usize = 64;

/// Opens connections.
pub(super) fn open(host: &Namespace, server: SocketAddr) -> anyhow::Result<Vec<TcpStream>> {
    host.enter(|| {
        (0..LIVE)
            .map(|_| {
                let mut connection = connect(server)?;
                exchange(&mut connection, &mut [0; ANSWER])?;
                Ok(connection)
            })
            .collect::<std::io::Result<_>>()
    })
    .context("a connection cannot be opened")
}

/// Keeps connections in use while `f` runs, and once more when it has ended. Returns what `f` does, and how many
/// connections broke.
pub(super) fn use_during<T>(connections: &mut [TcpStream], f: impl FnOnce() -> T) -> (T, usize) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let users: Vec<_> = connections
            .iter_mut()
            .map(|connection| scope.spawn(move || keep_using(connection, over)))
            .collect();
        let end = SetOnDrop(over);
        let result = f();
        drop(end);
        let broke = users
            .into_iter()
            .map(|user| user.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .filter(|stands| !stands)
            .count();
        (result, broke)
    })
}

/// Whether the connection stands when it is over.
fn keep_using(connection: &mut TcpStream, over: &AtomicBool) -> bool {
    loop {
        let last = over.load(Ordering::Relaxed);
        if exchange(connection, &mut [0; ANSWER]).is_err() {
            return false;
        }
        if last {
            return true;
        }
        thread::sleep(PAUSE);
    }
}

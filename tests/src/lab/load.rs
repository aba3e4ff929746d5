//! Requests in the background.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{Namespace, Reply, get};

/// Requests `/` from `server` again and again, each time on a new connection, while `f` runs, and once before and after.
/// Returns what `f` does, and the answers.
///
/// # Panics
///
/// If `f` does.
pub fn requests_during<T>(host: &Namespace, server: SocketAddr, f: impl FnOnce() -> T) -> (T, Vec<io::Result<Reply>>) {
    let over = AtomicBool::new(false);
    let first = get(host, server, "/");
    thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut answers = vec![first];
            while !over.load(Ordering::Relaxed) {
                answers.push(get(host, server, "/"));
            }
            answers.push(get(host, server, "/"));
            answers
        });
        let end = SetOnDrop(&over);
        let result = f();
        drop(end);
        let answers = requests.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result, answers)
    })
}

/// Ends the requests however the function ends.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! Running other programs: visibly, for their output, or quietly with one line that says how long they took.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How much of a failing command's output is shown.
const TAIL_LINES: usize = 20;
/// How often a quiet command is looked after.
const TICK: Duration = Duration::from_millis(100);

/// The command as a user would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a command that writes to the terminal itself.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", command_line(command));
    }
    Ok(())
}

/// What a command writes to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed: {}: {}",
            command_line(command),
            output.status,
            error.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command behind one line of progress. The error carries the end of its output.
pub(crate) fn run_quietly(title: &str, command: &mut Command) -> Result<()> {
    run_quietly_within(Duration::MAX, title, command)
}

/// Like [`run_quietly`], for a command that may hang: it is ended when it has run for `limit`.
pub(crate) fn run_quietly_within(limit: Duration, title: &str, command: &mut Command) -> Result<()> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // A backtrace would push the reason out of the lines that are shown.
    command.env("RUST_BACKTRACE", "0");
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let mut progress = Progress::start(title);
    // The reader sees the end of the output only when no writing end is left, and the command holds two.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let tail = thread::spawn(move || last_lines(reader));

    match wait(&mut child, limit, &mut progress)? {
        Some(status) if status.success() => {
            progress.end("done");
            Ok(())
        }
        Some(status) => {
            progress.end("failed");
            let tail = tail.join().unwrap_or_default();
            bail!("`{}` failed: {status}\n{tail}", command_line(command))
        }
        None => {
            progress.end("given up");
            bail!("`{}` did not end within {} s", command_line(command), limit.as_secs())
        }
    }
}

/// Waits for the child to end. `None`: it was still running after `limit` and was killed.
fn wait(child: &mut Child, limit: Duration, progress: &mut Progress<'_>) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if progress.started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        progress.tick();
        thread::sleep(TICK);
    }
}

fn last_lines(output: PipeReader) -> String {
    let mut lines = VecDeque::with_capacity(TAIL_LINES);
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("    {}", String::from_utf8_lossy(&line).trim_end()));
    }
    Vec::from(lines).join("\n")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", command_line(command))
}

/// A line on standard error: what is being done, and for how long already if somebody watches.
struct Progress<'a> {
    title: &'a str,
    started: Instant,
    watched: bool,
    shown_seconds: u64,
}

impl<'a> Progress<'a> {
    fn start(title: &'a str) -> Self {
        eprint!("{title} … ");
        Self {
            title,
            started: Instant::now(),
            watched: io::stderr().is_terminal(),
            shown_seconds: 0,
        }
    }

    fn tick(&mut self) {
        let seconds = self.started.elapsed().as_secs();
        if self.watched && seconds > self.shown_seconds {
            self.shown_seconds = seconds;
            eprint!("\r{} … {seconds} s ", self.title);
        }
    }

    fn end(&self, outcome: &str) {
        let line_start = if self.watched {
            format!("\r{} … ", self.title)
        } else {
            String::new()
        };
        eprintln!("{line_start}{outcome} in {:.1} s", self.started.elapsed().as_secs_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_quiet_failure_shows_the_end_of_both_outputs_and_nothing_older() {
        let error = run_quietly("failing", &mut shell("seq 30; echo last >&2; exit 3")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("    30\n    last"), "{text}");
        assert!(!text.contains("    11\n"), "{text}");
    }

    #[test]
    fn a_quiet_success_is_no_error_whatever_it_writes() {
        run_quietly("succeeding", &mut shell("seq 100000; seq 100000 >&2")).unwrap();
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = run_quietly_within(Duration::from_millis(1), "hanging", Command::new("sleep").arg("600"));
        assert!(error.unwrap_err().to_string().contains("did not end"));
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = output(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}

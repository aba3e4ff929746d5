//! A terminal with a program in it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::eventually;

/// A pseudoterminal and the program that it belongs to.
pub struct Terminal {
    keyboard: File,
    /// The program's side, to see how it leaves it.
    line: File,
    written: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    /// Runs a command in a terminal of so many columns and rows.
    pub fn run(command: &mut Command, columns: u16, rows: u16) -> io::Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let line = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().map_err(io::Error::other)?)?;
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&line, size)?;
        let end = || line.try_clone().map(|line| Stdio::from(OwnedFd::from(line)));
        let child = command
            .env("TERM", "xterm")
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()?;
        let keyboard = File::from(controller);
        let mut screen = keyboard.try_clone()?;
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&written);
        thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                let read = piece.get(..length).unwrap_or_default();
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
            }
        });
        Ok(Self {
            keyboard,
            line,
            written,
            child,
        })
    }

    /// Everything that the program has written, control sequences included.
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Waits until the program has written all of `words`.
    pub fn await_words(&self, words: &[&str]) {
        eventually(&format!("{words:?} are on the screen"), || {
            let written = self.written();
            words.iter().all(|word| written.contains(word)).then_some(())
        });
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Whether keys come line by line and can be seen, as a shell wants it.
    pub fn is_cooked(&self) -> io::Result<bool> {
        let modes = tcgetattr(&self.line)?.local_modes;
        Ok(modes.contains(LocalModes::ICANON | LocalModes::ECHO))
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended: io::Result<()> = self.child.kill();
        let _status: io::Result<ExitStatus> = self.child.wait();
    }
}

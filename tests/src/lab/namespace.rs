//! One host: a network namespace.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::{
    mount::{UnmountFlags, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde_json::Value;

/// Beginning of the name of every namespace that is made here. The process's number follows.
const PREFIX: &str = "blt-";

/// A network namespace, removed when it goes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback interface up. The label is for people who look at a test that hangs.
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}-{label}", std::process::id());
        let namespace = Self { name };
        run(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.ip("link set lo up");
        namespace
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn ip(&self, arguments: &str) {
        run(Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments.split_whitespace()));
    }

    /// Runs `ip` in the namespace and parses the JSON that it writes.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn ip_json(&self, arguments: &str) -> Value {
        let output = run(Command::new("ip")
            .args(["-n", &self.name, "-json"])
            .args(arguments.split_whitespace()));
        serde_json::from_slice(&output.stdout).expect("with -json, ip writes JSON")
    }

    /// A command that will run in the namespace. It sees the machine's file systems, the BPF one among them.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs a command in the namespace to its end.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run(&self, program: &str, arguments: &str) -> Output {
        run(self.command(program).args(arguments.split_whitespace()))
    }

    /// Calls `f` on a thread in the namespace: sockets that it opens belong there.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).expect("the namespace exists");
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("entering a network namespace takes root");
                f()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a kernel parameter of the namespace, `net.ipv4.ip_forward` for example.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Writes to a file below `/sys/class/net`, which shows the interfaces of the namespace in which it was mounted.
    ///
    /// # Panics
    ///
    /// If it cannot be written to.
    pub fn write_system_file(&self, path: &str, value: &str) {
        let script = format!("echo {value} > {path}");
        run(Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", &script]));
    }

    fn path(&self) -> String {
        path(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Interfaces and processes' sockets go with it. It may be gone already if the machine was cleaned up by hand.
        remove(&self.path());
    }
}

/// Removes the namespaces of test processes that were killed before they could.
fn remove_orphans() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let orphaned = owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true));
        if orphaned {
            // Another test process may be faster.
            remove(&path(&name));
        }
    }
}

/// Does what `ip netns delete` does, which a Ctrl-C meant for this process would end as well.
fn remove(path: &str) {
    let _gone: rustix::io::Result<()> = unmount(path, UnmountFlags::DETACH);
    let _none: std::io::Result<()> = fs::remove_file(path);
}

fn path(name: &str) -> String {
    format!("/run/netns/{name}")
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

//! A balancer host's daemon.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::{Namespace, Process, get, pins::PinDirectory, program};

/// How long the daemon may take to start or end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with its own configuration, socket and pins; its data plane goes when it goes.
pub struct Balancer<'a> {
    host: &'a Namespace,
    // Dropped in this order: first the daemon, then what it has made.
    process: Option<Process>,
    pins: PinDirectory,
    directory: TempDir,
}

impl<'a> Balancer<'a> {
    /// Where the daemon of every host serves its metrics.
    pub const METRICS: &'static str = "127.0.0.1:9310";

    /// A daemon on `host`, not started yet, attached to `interfaces`, with `services` in TOML.
    pub fn new(host: &'a Namespace, interfaces: &[&str], services: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let balancer = Self {
            host,
            process: None,
            pins: PinDirectory::new(),
            directory,
        };
        balancer.configure(interfaces, services);
        balancer
    }

    /// A daemon that runs.
    pub fn start(host: &'a Namespace, interfaces: &[&str], services: &str) -> Self {
        let mut balancer = Self::new(host, interfaces, services);
        balancer.run();
        balancer
    }

    /// Writes the configuration file.
    pub fn configure(&self, interfaces: &[&str], services: &str) {
        let interfaces: Vec<_> = interfaces.iter().map(|name| format!("{name:?}")).collect();
        let text = format!(
            "version = 1\n\
             [dataplane]\n\
             interfaces = [{}]\n\
             pin_path = \"{}\"\n\
             max_flows = 65536\n\
             [control]\n\
             socket = \"{}\"\n\
             state = \"{}\"\n\
             [metrics]\n\
             listen = \"{}\"\n\
             {services}",
            interfaces.join(", "),
            self.pins.path().display(),
            self.socket().display(),
            self.directory.path().join("state").display(),
            Self::METRICS,
        );
        fs::write(self.config(), text).expect("the temporary directory can be written to");
    }

    /// Path of the configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("balancer.toml")
    }

    /// Path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("balancer.sock")
    }

    /// The directory that everything is pinned under.
    pub fn pins(&self) -> &Path {
        self.pins.path()
    }

    /// Path of the daemon's log.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon runs")
    }

    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Panics
    ///
    /// If it ends instead.
    pub fn run(&mut self) {
        let path = self.directory.path().join("notify");
        let _stale: std::io::Result<()> = fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).expect("the temporary directory can hold a socket");
        notify
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout can be set");
        let mut process = self.spawn(&path);
        let mut message = [0; 256];
        for _ in 0..PATIENCE.as_millis() / 100 {
            if let Some(status) = process.try_wait() {
                panic!("the daemon ended with {status}:\n{}", process.output());
            }
            let ready = notify
                .recv(&mut message)
                .is_ok_and(|length| message.get(..length).is_some_and(|text| text.starts_with(b"READY=1")));
            if ready {
                self.process = Some(process);
                return;
            }
        }
        panic!("the daemon does not become ready:\n{}", process.output());
    }

    /// Starts a daemon that is expected to end by itself, and returns what it said.
    pub fn run_to_failure(&self) -> (ExitStatus, String) {
        let _previous: std::io::Result<()> = fs::remove_file(self.log());
        let mut process = self.spawn(Path::new("/dev/null"));
        let status = process.wait(PATIENCE);
        (status, process.output())
    }

    fn spawn(&self, notify: &Path) -> Process {
        let mut command = self.host.command(program("balancer"));
        command
            .args(["run", "--config"])
            .arg(self.config())
            .env("NOTIFY_SOCKET", notify);
        Process::start(&mut command, &self.log())
    }

    /// Stops the daemon; the data plane stays.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        process.signal(Signal::TERM);
        let status = process.wait(PATIENCE);
        assert!(
            status.success(),
            "the daemon ended with {status}:\n{}",
            process.output()
        );
    }

    /// Kills the daemon; the data plane stays.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        process.signal(Signal::KILL);
        process.wait(PATIENCE);
    }

    /// Runs a client command.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("balancer"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        command.output().expect("the command can be run")
    }

    /// Runs a reading command and parses the JSON that it writes.
    ///
    /// # Panics
    ///
    /// If the command fails.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let output = self.command(&[arguments, &["-o", "json"]].concat());
        assert!(
            output.status.success(),
            "{arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// A sample of the metrics endpoint, `balancer_drops_total{reason="malformed"}` for example.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn metric(&self, sample: &str) -> f64 {
        let address = Self::METRICS.parse().expect("a constant");
        let text = get(self.host, address, "/metrics")
            .expect("the metrics endpoint answers")
            .text();
        text.lines()
            .filter_map(|line| line.strip_prefix(sample))
            .find_map(|rest| rest.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no sample {sample} in:\n{text}"))
    }
}

//! A balancer host's daemon.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    thread,
    time::Duration,
};

use balancer::control::{
    client,
    protocol::{FlowFilter, Request, Response},
};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::{Namespace, Network, Process, Reply, get, pins::PinDirectory, program};

/// How long the daemon may take to start or end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a configuration file says besides the services.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// Where in the receive path the program runs: `auto`, `native` or `generic`.
    pub xdp_mode: &'static str,
    /// Directory of the pins.
    pub pin_path: PathBuf,
    /// Entries in the flow table.
    pub max_flows: u32,
    /// Room for backends.
    pub max_backends: u32,
    /// The control socket.
    pub socket: PathBuf,
    /// Directory for what was changed at run time.
    pub state: PathBuf,
    /// Where metrics are served.
    pub metrics: SocketAddr,
}

impl Settings {
    /// The configuration file with these settings and `services` in TOML.
    fn toml(&self, services: &str) -> String {
        let Self {
            interfaces,
            xdp_mode,
            pin_path,
            max_flows,
            max_backends,
            socket,
            state,
            metrics,
        } = self;
        format!(
            "version = 1\n\
             [dataplane]\n\
             interfaces = {interfaces:?}\n\
             xdp_mode = \"{xdp_mode}\"\n\
             pin_path = \"{}\"\n\
             max_flows = {max_flows}\n\
             max_backends = {max_backends}\n\
             [control]\n\
             socket = \"{}\"\n\
             state = \"{}\"\n\
             [metrics]\n\
             listen = \"{metrics}\"\n\
             {services}",
            pin_path.display(),
            socket.display(),
            state.display(),
        )
    }
}

/// A daemon with its own configuration, socket and pins; its data plane goes when it goes.
pub struct Balancer<'a> {
    /// What its configuration file says once it is [written](Self::configure) again.
    pub settings: Settings,
    /// How the next daemon writes its log: `text` or `json`.
    pub log_format: &'static str,
    host: &'a Namespace,
    process: Option<Process>,
    directory: TempDir,
    // Goes after the process, which would pin anew.
    _pins: PinDirectory,
}

impl<'a> Balancer<'a> {
    /// A daemon on `host`, not started yet, attached to `interfaces`, with `services` in TOML.
    pub fn new(host: &'a Namespace, interfaces: &[&str], services: &str) -> Self {
        let pins = PinDirectory::new();
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let settings = Settings {
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            xdp_mode: "auto",
            pin_path: pins.path().to_owned(),
            max_flows: 65_536,
            max_backends: 16_384,
            socket: directory.path().join("balancer.sock"),
            state: directory.path().join("state"),
            metrics: SocketAddr::from(([127, 0, 0, 1], 9310)),
        };
        let balancer = Self {
            settings,
            log_format: "text",
            host,
            process: None,
            directory,
            _pins: pins,
        };
        balancer.configure(services);
        balancer
    }

    /// A daemon that runs.
    pub fn start(host: &'a Namespace, interfaces: &[&str], services: &str) -> Self {
        let mut balancer = Self::new(host, interfaces, services);
        balancer.run();
        balancer
    }

    /// Writes the configuration file.
    pub fn configure(&self, services: &str) {
        fs::write(self.config(), self.settings.toml(services)).expect("the temporary directory can be written to");
    }

    /// Path of the configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("balancer.toml")
    }

    /// The directory that everything of the daemon's is in but its pins.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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
        let _stale: io::Result<()> = fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).expect("the temporary directory can hold a socket");
        notify
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout can be set");
        let mut command = self.run_command(&program("balancer"));
        let mut process = Process::start(command.env("NOTIFY_SOCKET", &path), &self.log());
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
        self.run_command_to_failure(&mut self.run_command(&program("balancer")))
    }

    /// The same, by a command of the caller's.
    pub fn run_command_to_failure(&self, command: &mut Command) -> (ExitStatus, String) {
        let _previous: io::Result<()> = fs::remove_file(self.log());
        let mut process = Process::start(command, &self.log());
        let status = process.wait(PATIENCE);
        (status, process.output())
    }

    fn run_command(&self, program: &Path) -> Command {
        let mut command = self.host.command(program);
        command
            .args(["run", "--log-format", self.log_format, "--config"])
            .arg(self.config());
        command
    }

    /// Stops the daemon; the data plane stays.
    pub fn stop(&mut self) {
        let status = self.end(Signal::TERM);
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.output());
    }

    /// Kills the daemon; the data plane stays.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Ends the daemon by a signal.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.process().signal(signal);
        self.wait()
    }

    /// Waits until the daemon ends.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.process().wait(PATIENCE);
        self.process = None;
        status
    }

    /// What the daemon has logged so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs a client command.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("balancer"));
        command.arg("--socket").arg(&self.settings.socket).args(arguments);
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

    /// Asks the daemon what clients ask it, without a client's process.
    ///
    /// # Panics
    ///
    /// If it does not answer, or refuses.
    pub fn ask(&self, request: &Request) -> Response {
        client::ask(&self.settings.socket, request).unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// How many flows are remembered, or were some seconds ago: a count serves for so long.
    ///
    /// # Panics
    ///
    /// If the daemon does not answer.
    pub fn flows(&self) -> u64 {
        match self.ask(&Request::Status) {
            Response::Status(status) => status.dataplane.flows,
            other => panic!("{other:?} is no answer to `status`"),
        }
    }

    /// Has the flows counted anew when they are asked for next, as they are after some have been forgotten: here none.
    pub fn forget_counts(&self) {
        let filter = FlowFilter {
            client: Some(Network::CLIENT.into()),
            port: Some(1),
            ..FlowFilter::default()
        };
        self.ask(&Request::FlushFlows(filter));
    }

    /// Asks the metrics endpoint.
    pub fn scrape(&self, path: &str) -> io::Result<Reply> {
        get(self.host, self.settings.metrics, path)
    }

    /// A sample of the metrics endpoint that is a count, `balancer_drops_total{reason="malformed"}` for example, if there is one.
    ///
    /// # Panics
    ///
    /// If the endpoint does not answer.
    pub fn find_metric(&self, sample: &str) -> Option<u64> {
        let metrics = self.scrape("/metrics").expect("the metrics endpoint answers").text();
        metrics
            .lines()
            .filter_map(|line| line.strip_prefix(sample))
            .find_map(|rest| rest.strip_prefix(' ')?.parse().ok())
    }

    /// The same for a sample that is there from the beginning.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn metric(&self, sample: &str) -> u64 {
        self.find_metric(sample).unwrap_or_else(|| panic!("no sample {sample}"))
    }
}

impl Drop for Balancer<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.output());
        }
    }
}

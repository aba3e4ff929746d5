//! Following decisions about packets.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::{Balancer, Process, eventually, program};

/// A `balancer trace` that runs.
pub struct Tracer<'a> {
    balancer: &'a Balancer<'a>,
    process: Process,
    /// The program that was attached before.
    untold: Value,
}

impl<'a> Tracer<'a> {
    /// Starts one with these further arguments, and waits until packets are told of.
    ///
    /// # Panics
    ///
    /// If it ends instead.
    pub fn start(balancer: &'a Balancer<'a>, arguments: &[&str]) -> Self {
        let mut command = Command::new(program("balancer"));
        command.arg("--socket").arg(&balancer.settings.socket);
        command.args(["trace", "--output", "json"]).args(arguments);
        let untold = attached(balancer);
        let log = balancer.directory().join("trace");
        let _of_another: io::Result<()> = fs::remove_file(&log);
        let mut process = Process::start(&mut command, &log);
        eventually("the program that tells is attached", || {
            let ended = process.try_wait();
            assert!(ended.is_none(), "the trace ended:\n{}", process.output());
            (attached(balancer) != untold).then_some(())
        });
        Self {
            balancer,
            process,
            untold,
        }
    }

    /// What has been told, as soon as it is so many decisions.
    pub fn told(&self, count: usize) -> Vec<Value> {
        let lines = eventually("decisions are told", || {
            let output = self.process.output();
            let is_whole = output.is_empty() || output.ends_with('\n');
            (output.lines().count() >= count && is_whole).then_some(output)
        });
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        lines.lines().map(parse).collect()
    }

    /// Its process, which outlives the daemon.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// Ends it, and waits until the program that was attached before is attached again.
    pub fn end(mut self) {
        self.process.signal(Signal::INT);
        eventually("the trace ends", || self.process.try_wait());
        eventually("the other program is attached", || {
            (attached(self.balancer) == self.untold).then_some(())
        });
    }
}

/// The program on the first interface.
fn attached(balancer: &Balancer<'_>) -> Value {
    let status: Value = balancer.json(&["status"]);
    status["dataplane"]["interfaces"][0]["program_id"].clone()
}

/// What scapy says of the checksums in a capture.
#[derive(Debug, Deserialize)]
pub struct Checksums {
    /// How many packets there are.
    pub packets: usize,
    /// How many checksums of each protocol.
    pub checksums: std::collections::HashMap<String, usize>,
    /// Packets with a wrong one, in hexadecimal.
    pub wrong: Vec<String>,
}

impl Checksums {
    /// Has them checked.
    ///
    /// # Panics
    ///
    /// If scapy cannot read the capture.
    pub fn of(capture: &Path) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/checksums.py");
        // The distribution's Python, which has the distribution's scapy.
        let output = Command::new("/usr/bin/python3").arg(script).arg(capture).output();
        let output = output.expect("python3 is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scapy failed: {errors}");
        serde_json::from_slice(&output.stdout).expect("the script writes JSON")
    }
}

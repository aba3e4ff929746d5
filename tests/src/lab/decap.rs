//! What takes packets out of tunnels on a backend.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use super::{Namespace, Process, eventually, program};

/// A running `balancer decap`.
pub struct Decap<'a> {
    host: &'a Namespace,
    process: Process,
}

impl<'a> Decap<'a> {
    /// Starts one in the driver of the host's eth0 that takes packets from the addresses in `allowed`, and waits until it
    /// does.
    pub fn start(host: &'a Namespace, allowed: &[&str], log: &Path) -> Self {
        let mut command = host.command(program("balancer"));
        command.args(["decap", "--interface", "eth0", "--xdp-mode", "native"]);
        for prefix in allowed {
            command.args(["--allow", prefix]);
        }
        let mut process = Process::start(&mut command, log);
        eventually("packets are taken out of tunnels", || {
            let ended = process.try_wait();
            assert!(ended.is_none(), "balancer decap ended:\n{}", process.output());
            process.output().contains("taking packets out of tunnels").then_some(())
        });
        Self { host, process }
    }

    /// How many packets met a fate, as `balancer decap show` says.
    ///
    /// # Panics
    ///
    /// If there is no such fate.
    pub fn count(&self, fate: &str) -> u64 {
        let mut command = self.host.command(program("balancer"));
        let output = command
            .args(["decap", "show", "--interface", "eth0", "-o", "json"])
            .output()
            .expect("the command can be run");
        let shown: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        shown[0]["packets"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["fate"] == fate)
            .and_then(|entry| entry["packets"].as_u64())
            .unwrap_or_else(|| panic!("{fate} is missing in {shown}"))
    }

    /// Ends it and returns what it has written.
    pub fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(10));
        assert!(status.success(), "{status}:\n{}", self.process.output());
        self.process.output()
    }
}

//! A Prometheus that scrapes a balancer.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Namespace, Process, eventually};

/// Where it listens on its host.
const ADDRESS: &str = "127.0.0.1:9090";

/// A running Prometheus.
pub struct Prometheus<'a> {
    host: &'a Namespace,
    process: Process,
    _directory: TempDir,
}

impl<'a> Prometheus<'a> {
    /// Starts one on `host` that scrapes `target` as the job `balancer` twice a second and evaluates the rules in the file
    /// `rules` every second, and waits until it has done both.
    pub fn start(host: &'a Namespace, target: SocketAddr, rules: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let config = directory.path().join("prometheus.yml");
        // JSON is YAML.
        let settings = json!({
            "global": { "scrape_interval": "500ms", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "balancer", "static_configs": [{ "targets": [target] }] }],
        });
        fs::write(&config, settings.to_string()).expect("the temporary directory can be written to");
        let mut command = host.command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .arg("--log.level=warn");
        let mut prometheus = Self {
            host,
            process: Process::start(&mut command, &directory.path().join("log")),
            _directory: directory,
        };
        eventually("Prometheus scrapes the balancer", || {
            let ended = prometheus.process.try_wait();
            assert!(ended.is_none(), "Prometheus ended:\n{}", prometheus.process.output());
            let up = prometheus.query("up == 1").ok()?;
            (!up.is_empty()).then_some(())
        });
        eventually("Prometheus evaluates the rules", || {
            let rules = prometheus.rules();
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(())
        });
        prometheus
    }

    /// What an expression yields now: the series, or what is wrong with it.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let query = format!("query={expression}");
        let answer = self.ask("query", &["--get", "--data-urlencode", &query])?;
        Ok(list(&answer["data"]["result"]))
    }

    /// Its rules, as the API describes them.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.ask("rules", &[]).expect("Prometheus tells its rules");
        let groups = list(&answer["data"]["groups"]);
        groups.iter().flat_map(|group| list(&group["rules"])).collect()
    }

    fn ask(&self, what: &str, arguments: &[&str]) -> Result<Value, String> {
        let url = format!("http://{ADDRESS}/api/v1/{what}");
        let mut curl: Command = self.host.command("curl");
        let output = curl
            .args(["--silent", "--show-error"])
            .args(arguments)
            .arg(url)
            .output();
        let output = output.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_no_json| String::from_utf8_lossy(&output.stderr).into_owned())?;
        if answer["status"] == "success" {
            Ok(answer)
        } else {
            Err(answer["error"].to_string())
        }
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

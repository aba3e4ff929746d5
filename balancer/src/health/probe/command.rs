//! The command probe: does a program of the operator's find the backend well?

use std::{env, process::Stdio};

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::{Failure, Probe};
use crate::{config, health::Destination};

/// Succeeds when the command ends with exit code 0.
///
/// It gets `PATH` and what the configuration says for an environment, and its output goes nowhere.
pub(super) struct CommandProbe(config::CommandProbe);

impl CommandProbe {
    pub(super) fn new(config: &config::CommandProbe) -> Self {
        Self(config.clone())
    }

    fn command(&self, destination: &Destination) -> Command {
        let config::CommandProbe {
            program,
            arguments,
            env,
        } = &self.0;
        let mut command = Command::new(program);
        command
            .args(arguments.iter().map(|argument| filled(argument, destination)))
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(env.iter().map(|(name, value)| (name, filled(value, destination))))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Whatever it starts can then be ended with it.
            .process_group(0)
            // And it is waited for even when nobody here does any more.
            .kill_on_drop(true);
        command
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let not_started = |error| Failure::Local(format!("{} cannot be started ({error})", self.0.program));
        let mut group = Group(self.command(destination).spawn().map_err(not_started)?);
        let status = group.0.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Command(status.to_string()))
        }
    }
}

impl Probe for CommandProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}

/// `text` with the destination in place of its placeholders.
fn filled(text: &str, destination: &Destination) -> String {
    let Destination { backend, address, .. } = destination;
    text.replace("{backend}", backend)
        .replace("{address}", &address.ip().to_string())
        .replace("{port}", &address.port().to_string())
}

/// A command and the process group that it leads, which is killed unless the command has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A command that has ended and been waited for has no process ID any more, which might be another's by now.
        let leader = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended this very moment.
            let _ended: rustix::io::Result<()> = kill_process_group(leader, Signal::KILL);
        }
    }
}

//! Running a command as root.
//!
//! Installing packages, mounting, network namespaces and XDP need root. Builds do not, and should not leave root's files
//! in the target directory, so only the command that needs it is run as root.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, IsTerminal as _},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::process;

/// What a command keeps of the environment through `sudo`, by the beginning of the name: enough for it to find the same
/// tools, caches and settings.
const KEPT: [&str; 9] = [
    "PATH",
    "HOME",
    "TERM",
    "CI",
    "XDG_",
    "CARGO",
    "RUST",
    "BALANCER_",
    "NEXTEST",
];

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command, run as root: unchanged if this process is root already, else through `sudo`.
///
/// `sudo` asks for a password only if there is a terminal to ask on; without one the error names the command to run.
pub(crate) fn as_root(command: Command) -> Result<Command> {
    if is_root() {
        return Ok(command);
    }
    let without_password = Command::new("sudo")
        .args(["-n", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match without_password {
        Ok(status) if status.success() => Ok(through_sudo(&["-n"], &command, env::vars_os())),
        Ok(_) if io::stdin().is_terminal() => Ok(through_sudo(&[], &command, env::vars_os())),
        Ok(_) => bail!(
            "this needs root, and sudo asks for a password: run `sudo {}` and try again",
            process::command_line(&command)
        ),
        Err(_) => bail!(
            "this needs root, and there is no sudo: run `{}` as root and try again",
            process::command_line(&command)
        ),
    }
}

/// Sudo's rules may empty the environment, whatever its options say, so what is kept of it is passed by `env`.
fn through_sudo(
    options: &[&str],
    command: &Command,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Command {
    let mut sudo = Command::new("sudo");
    sudo.args(options).args(["--", "env"]);
    let own = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in environment {
        if is_kept(&name) {
            sudo.arg(assignment(&name, &value));
        }
    }
    for (name, value) in own {
        sudo.arg(assignment(name, value));
    }
    sudo.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        sudo.current_dir(directory);
    }
    sudo
}

fn is_kept(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| KEPT.iter().any(|kept| name.starts_with(kept)))
}

fn assignment(name: &OsStr, value: &OsStr) -> OsString {
    [name, OsStr::new("="), value].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_gets_the_environment_that_tools_are_found_by_and_no_other() {
        let mut command = Command::new("cargo");
        command.arg("run").env("RUSTC_BOOTSTRAP", "1").current_dir("/tmp");
        let environment = [("CARGO_HOME", "/home/me/.cargo"), ("TOKEN", "secret")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let sudo = through_sudo(&["-n"], &command, environment);
        assert_eq!(
            process::command_line(&sudo),
            "sudo -n -- env CARGO_HOME=/home/me/.cargo RUSTC_BOOTSTRAP=1 cargo run"
        );
        assert_eq!(sudo.get_current_dir(), command.get_current_dir());
    }
}

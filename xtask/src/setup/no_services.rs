//! Keeps what packages install from running: the tests want programs, not services on the machine that they run on.

use std::process::Command;

use anyhow::Result;

use super::programs;
use crate::{privilege, process};

/// What packages ask whether they may start a service (Debian's `invoke-rc.d` and `deb-systemd-invoke`).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Runs a command while the policy, whose path comes first, is that no service may be started. A policy that was there before
/// is there again afterwards, however the command ends; one that a killed run has left is known by its mark.
const SCRIPT: &str = r#"
policy=$1 aside=$1.aside mark='# of cargo xtask setup'
shift
restore() {
    rm -f "$policy"
    if [ -e "$aside" ]; then mv "$aside" "$policy"; fi
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
if [ -e "$policy" ] && ! grep -qxF "$mark" "$policy"; then mv "$policy" "$aside"; fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"
"$@"
"#;

/// A command that runs `program` while no service may be started. It takes root.
pub(super) fn without_services(program: &str) -> Command {
    command(POLICY, program)
}

fn command(policy: &str, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh", policy, program]);
    command
}

/// Has services that were just installed stay off when the machine starts.
pub(super) fn disable(services: &[&str]) -> Result<()> {
    if services.is_empty() || programs::find("systemctl").is_none() {
        return Ok(());
    }
    let mut systemctl = Command::new("systemctl");
    systemctl.arg("disable").args(services);
    let title = format!("switching off {}", services.join(" "));
    process::run_quietly(&title, &mut privilege::as_root(systemctl)?)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf, process};

    use super::*;

    /// A directory that is removed in the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("xtask-{name}-{}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    /// Runs a line of shell under a policy. Returns its exit code.
    fn run(policy: &str, line: &str) -> Option<i32> {
        let mut command = command(policy, "sh");
        command.args(["-c", line]).status().unwrap().code()
    }

    #[test]
    fn no_service_may_be_started_until_the_command_ends_and_what_was_before_is_again() {
        let directory = Directory::new("policy");
        let path = directory.0.join("policy-rc.d");
        let policy = path.to_str().unwrap();
        // Packages take 101 for "no".
        assert_eq!(run(policy, &format!("{policy} nginx start")), Some(101));
        assert!(!path.exists());

        fs::write(&path, "the operator's").unwrap();
        assert_eq!(run(policy, &format!("{policy} nginx start")), Some(101));
        assert_eq!(fs::read_to_string(&path).unwrap(), "the operator's");
        assert_eq!(run(policy, "exit 3"), Some(3));
        assert_eq!(fs::read_to_string(&path).unwrap(), "the operator's");
        assert_eq!(run(policy, "true"), Some(0));
        assert_eq!(run(policy, "kill $PPID"), Some(1), "it is ended itself");
        assert_eq!(fs::read_to_string(&path).unwrap(), "the operator's");
    }

    #[test]
    fn what_a_killed_run_has_left_is_no_policy_of_the_operators() {
        let directory = Directory::new("left");
        let path = directory.0.join("policy-rc.d");
        let policy = path.to_str().unwrap();
        assert_eq!(run(policy, "kill -9 $PPID"), None);
        assert!(path.exists());
        assert_eq!(run(policy, "true"), Some(0));
        assert!(!path.exists());
    }
}

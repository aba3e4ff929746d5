//! The package manager of Debian and Ubuntu.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{no_services::without_services, programs};
use crate::{privilege, process};

/// A package and the version of it that would be installed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) package: String,
    pub(super) version: String,
}

/// Installs packages with what they depend on, and never removes one for it. No service is started.
///
/// The lists of packages are fetched anew only if there are none, or if the first try fails.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !is_there() {
        bail!("there is no apt-get: install what your distribution has for `{names}`");
    }
    ensure_lists()
        .and_then(|lists| match (try_install(packages), lists) {
            (Err(error), Lists::Old) => update().map_or(Err(error), |()| try_install(packages)),
            (result, _) => result,
        })
        .with_context(|| format!("cannot install the packages {names}"))
}

/// The packages whose names match a regular expression, as far as they can be installed.
pub(super) fn candidates(names: &str) -> Result<Vec<Candidate>> {
    if !is_there() {
        return Ok(Vec::new());
    }
    ensure_lists()?;
    let found = process::output(Command::new("apt-cache").args(["search", "--names-only", names]))?;
    let packages: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let policy = process::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .arg("policy")
            .args(packages),
    )?;
    Ok(parse_policy(&policy))
}

fn is_there() -> bool {
    programs::find("apt-get").is_some()
}

fn try_install(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    arguments.extend(packages);
    apt_get(&format!("installing {}", packages.join(" ")), &arguments)
}

/// Whether the lists of packages were there or have just been fetched.
#[derive(PartialEq, Eq)]
enum Lists {
    Old,
    New,
}

fn ensure_lists() -> Result<Lists> {
    let have_lists = fs::read_dir("/var/lib/apt/lists").is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().contains("_Packages")))
    });
    if have_lists {
        return Ok(Lists::Old);
    }
    update()?;
    Ok(Lists::New)
}

fn update() -> Result<()> {
    apt_get("fetching the lists of packages", &["update"])
}

fn apt_get(title: &str, arguments: &[&str]) -> Result<()> {
    let mut apt_get = without_services("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    // A machine that has just started often updates itself.
    apt_get.args(["-o", "DPkg::Lock::Timeout=300"]);
    process::run_quietly(title, &mut privilege::as_root(apt_get)?)
}

/// Reads what `apt-cache policy` writes: a line `NAME:` for each package, with its versions indented below.
fn parse_policy(policy: &str) -> Vec<Candidate> {
    let mut package = "";
    let mut candidates = Vec::new();
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if let Some(version) = line.trim_start().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            candidates.push(Candidate {
                package: package.into(),
                version: version.into(),
            });
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_what_can_be_installed() {
        let policy = "\
rustc:
  Installed: (none)
  Candidate: 1.63.0+dfsg1-2
  Version table:
     1.63.0+dfsg1-2 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
rustc-web:
  Installed: 1.85.0+dfsg3-1~deb12u3
  Candidate: 1.96.0+dfsg1-1~deb12u2
rustc-virtual:
  Installed: (none)
  Candidate: (none)
";
        let candidate = |package: &str, version: &str| Candidate {
            package: package.into(),
            version: version.into(),
        };
        assert_eq!(
            parse_policy(policy),
            [
                candidate("rustc", "1.63.0+dfsg1-2"),
                candidate("rustc-web", "1.96.0+dfsg1-1~deb12u2")
            ]
        );
    }
}

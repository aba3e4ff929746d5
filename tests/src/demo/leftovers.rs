//! What the demo has made and not taken down.

use std::{fs, path::Path};

use rustix::{
    io::Errno,
    process::{WaitOptions, wait},
};

use super::report::Verdict;

/// Where the lab's namespaces are, and its pins.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/sys/fs/bpf"];

/// Nothing is left of this process: no namespace, no pinned object and no child.
pub(super) fn none() -> Verdict {
    let mut left: Vec<String> = DIRECTORIES
        .into_iter()
        .flat_map(|directory| of_process(std::process::id(), &names_in(directory.as_ref())))
        .collect();
    if !matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)) {
        left.push("a process".to_owned());
    }
    if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The names that the lab gives to what this process makes: they carry its number.
fn of_process(process: u32, names: &[String]) -> Vec<String> {
    let mark = format!("-{process}-");
    names.iter().filter(|name| name.contains(&mark)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_the_number_of_the_process_is_its_own() {
        let names = [
            "blt-123-0-client",
            "blt-1234-0-client",
            "balancer-test-123-0",
            "123",
            "other",
        ];
        let own = of_process(123, &names.map(str::to_owned));
        assert_eq!(own, ["blt-123-0-client", "balancer-test-123-0"]);
    }
}

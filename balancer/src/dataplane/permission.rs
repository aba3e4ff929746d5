//! What the kernel lets this process do.

use anyhow::{Context as _, anyhow};
use rustix::thread::{CapabilitySet, capabilities};

/// Fails if this thread has not the capabilities that the data plane takes: without this, a start would fail at whatever
/// comes first, which says little of the reason.
pub fn require_permission() -> anyhow::Result<()> {
    let held = capabilities(None).context("cannot find out what this process may do")?;
    if suffices(held.effective) {
        Ok(())
    } else {
        Err(missing())
    }
}

/// What anyone without the privileges is told.
pub(super) fn missing() -> anyhow::Error {
    anyhow!("no permission to use BPF: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
}

/// `CAP_SYS_ADMIN` is more than `CAP_BPF` and `CAP_PERFMON` (capabilities(7)).
fn suffices(held: CapabilitySet) -> bool {
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    held.contains(CapabilitySet::NET_ADMIN) && (held.contains(bpf) || held.contains(CapabilitySet::SYS_ADMIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_is_needed_and_sys_admin_stands_for_two() {
        let (bpf, perfmon) = (CapabilitySet::BPF, CapabilitySet::PERFMON);
        let (net, sys) = (CapabilitySet::NET_ADMIN, CapabilitySet::SYS_ADMIN);
        for (held, enough) in [
            (CapabilitySet::empty(), false),
            (net | bpf, false),
            (net | perfmon, false),
            (bpf | perfmon, false),
            (sys, false),
            (net | bpf | perfmon, true),
            (net | sys, true),
            (CapabilitySet::all(), true),
        ] {
            assert_eq!(suffices(held), enough, "{held:?}");
        }
    }
}

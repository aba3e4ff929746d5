//! Room for many probes at once among the open files of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left to the rest of the daemon: maps, links, clients of its sockets.
const RESERVED: u64 = 256;
/// Descriptors that a probe takes at most while it runs: a connection, or a command's handle and its standard streams.
const PER_PROBE: u64 = 4;

/// Raises the soft limit of open files (`RLIMIT_NOFILE` of getrlimit(2)) so far that `probes` can be under way at once.
/// Returns how many can: fewer if the hard limit is in the way, but always one.
pub fn make_room(probes: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (limit, probes) = plan(limit, probes);
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    probes
}

/// The limit to set, and how many probes there is room for then.
fn plan(limit: Rlimit, probes: usize) -> (Rlimit, usize) {
    let wanted = u64::try_from(probes)
        .unwrap_or(u64::MAX)
        .saturating_mul(PER_PROBE)
        .saturating_add(RESERVED);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // `None` is no limit at all.
    let current = limit.current.map(|current| current.max(wanted.min(most)));
    let room = current.map_or(u64::MAX, |current| current.saturating_sub(RESERVED) / PER_PROBE);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    (Rlimit { current, ..limit }, probes.min(room).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_as_far_as_needed_and_possible() {
        let cases = [
            // soft, hard, probes; soft then, room
            ((Some(1024), Some(524_288), 2048), (Some(8448), 2048)),
            ((Some(1024), None, 2048), (Some(8448), 2048)),
            ((Some(1024), Some(4096), 2048), (Some(4096), 960)),
            ((Some(65_536), Some(524_288), 2048), (Some(65_536), 2048)),
            ((Some(512), Some(512), 2048), (Some(512), 64)),
            ((Some(64), Some(64), 2048), (Some(64), 1)),
            ((None, None, 2048), (None, 2048)),
        ];
        for ((soft, hard, probes), (expected, room)) in cases {
            let limit = Rlimit {
                current: soft,
                maximum: hard,
            };
            let (planned, possible) = plan(limit, probes);
            assert_eq!(
                (planned.current, planned.maximum, possible),
                (expected, hard, room),
                "{limit:?}"
            );
        }
    }
}

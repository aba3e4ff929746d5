//! When backends went down, on disk: who has gone down too often stays down whatever becomes of the daemon.
//!
//! The times are those of the wall clock, which goes on while no daemon runs. They are not forced to the disk, so after a power
//! failure a backend may come up sooner.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

use super::BackendKey;

/// When backends went down, as far as that may count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DownTimes(BTreeMap<BackendKey, Vec<SystemTime>>);

/// As on disk: service, backend, and milliseconds since 1970.
type Kept = Vec<(String, String, Vec<u64>)>;

impl DownTimes {
    /// What `file` holds; nothing if there is none or it cannot be read.
    pub(super) fn read(file: &Path) -> Self {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!("no backend is held down, as {} cannot be read: {error}", file.display());
                return Self::default();
            }
        };
        let kept: Kept = serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(
                "no backend is held down, as {} says nothing of use: {error}",
                file.display()
            );
            Kept::default()
        });
        let time = |milliseconds| UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
        let entries = kept.into_iter().map(|(service, backend, times)| {
            let times = times.into_iter().filter_map(time).collect();
            ((service, backend), times)
        });
        Self(entries.collect())
    }

    /// Replaces `file` as a whole.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let milliseconds = |time: &SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let kept: Kept = self
            .0
            .iter()
            .map(|((service, backend), times)| {
                (
                    service.clone(),
                    backend.clone(),
                    times.iter().map(milliseconds).collect(),
                )
            })
            .collect();
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&kept)?)
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("cannot keep in {} when backends went down", file.display()))
    }

    /// Notes that a backend goes down, which counts for `window`; one time more than `limit` decides.
    pub(super) fn note(&mut self, backend: BackendKey, limit: u32, window: Duration, now: SystemTime) {
        let times = self.0.entry(backend).or_default();
        times.retain(|time| now.duration_since(*time).is_ok_and(|age| age < window));
        times.push(now);
        let excess = times.len().saturating_sub(limit as usize + 1);
        times.drain(..excess);
    }

    /// How long ago a backend went down. What lies ahead, by a clock that was put back, is now.
    pub(super) fn ages(&self, backend: &BackendKey, now: SystemTime) -> Vec<Duration> {
        let times = self.of(backend).iter();
        times
            .map(|time| now.duration_since(*time).unwrap_or_default())
            .collect()
    }

    /// When a backend went down.
    pub(super) fn of(&self, backend: &BackendKey) -> &[SystemTime] {
        self.0.get(backend).map_or(&[], Vec::as_slice)
    }

    /// Gives a backend the times of one that it has been.
    pub(super) fn inherit(&mut self, backend: BackendKey, times: &[SystemTime]) {
        if !times.is_empty() {
            self.0.insert(backend, times.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(name: &str) -> BackendKey {
        ("web".to_owned(), name.to_owned())
    }

    #[test]
    fn what_is_written_is_read_again_and_a_file_of_no_use_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("downs.json");
        assert_eq!(DownTimes::read(&file), DownTimes::default());
        fs::write(&file, "no JSON").unwrap();
        assert_eq!(DownTimes::read(&file), DownTimes::default());

        let mut downs = DownTimes::default();
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for seconds in [1_000, 1_010] {
            downs.note(backend("b1"), 3, Duration::from_mins(1), time(seconds));
        }
        downs.write(&file).unwrap();
        let read = DownTimes::read(&file);
        assert_eq!(read, downs);
        let ages = read.ages(&backend("b1"), time(1_005));
        assert_eq!(ages, [5, 0].map(Duration::from_secs));
        assert!(read.ages(&backend("b2"), time(1_005)).is_empty());
    }

    #[test]
    fn only_what_may_count_is_noted() {
        let mut downs = DownTimes::default();
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for seconds in [0, 50, 90, 95, 99, 120] {
            downs.note(backend("b1"), 2, Duration::from_mins(1), time(seconds));
        }
        assert_eq!(downs.of(&backend("b1")), [95, 99, 120].map(time));
        downs.note(backend("b1"), 2, Duration::from_secs(10), time(200));
        assert_eq!(downs.of(&backend("b1")), [time(200)]);
    }
}

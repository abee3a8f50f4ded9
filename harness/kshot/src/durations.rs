//! The duration of earlier runs, so that the longest can be started first.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kshot_guest::host::cache::Cache;

/// The duration of a scenario's last run on a kernel; `None` if it is unknown.
pub fn last_duration(cache: &Cache, scenario: &str, kernel: &str) -> Option<Duration> {
    let text = fs::read_to_string(path(cache, scenario, kernel)).ok()?;
    text.trim().parse().ok().map(Duration::from_millis)
}

/// Records the duration of a run.
pub fn record(cache: &Cache, scenario: &str, kernel: &str, took: Duration) {
    let path = path(cache, scenario, kernel);
    // Only the order of runs depends on it: a cache that cannot be written must not lose a result.
    drop(
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, took.as_millis().to_string())),
    );
}

/// A duration as documents have it.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn path(cache: &Cache, scenario: &str, kernel: &str) -> PathBuf {
    let name = |text: &str| text.replace('/', ".");
    cache.root().join("durations").join(format!("{}-{}", name(scenario), name(kernel)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        assert_eq!(last_duration(&cache, "a/b", "k"), None);
        record(&cache, "a/b", "k", Duration::from_millis(1500));
        assert_eq!(last_duration(&cache, "a/b", "k"), Some(Duration::from_millis(1500)));
        assert!(cache.entries().unwrap().is_empty(), "it is no entry that could be pruned");
    }
}

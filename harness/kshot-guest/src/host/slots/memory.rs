//! How much memory kshot may use on this host: all of it, or the limit of its control group.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory in MiB; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostMemory {
    /// The host's memory, or the control group's limit.
    pub(super) total_mib: Option<u64>,
    /// What can still be used without swapping.
    pub(super) available_mib: Option<u64>,
}

impl HostMemory {
    /// The memory at this moment.
    pub(super) fn now() -> Self {
        let of_groups = groups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
        let of_host = of_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
        of_groups.iter().filter_map(|group| of_group(group)).fold(of_host, Self::least)
    }

    /// Whether `needed_mib` more fit beside `held_mib`, which may not be in use yet.
    pub(super) fn has_room(self, held_mib: u64, needed_mib: u64) -> bool {
        self.available_mib.is_none_or(|available| available >= needed_mib)
            && self.total_mib.is_none_or(|total| total >= held_mib.saturating_add(needed_mib))
    }

    fn least(self, other: Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            total_mib: least(self.total_mib, other.total_mib),
            available_mib: least(self.available_mib, other.available_mib),
        }
    }
}

/// `MemTotal` and `MemAvailable` of proc_meminfo(5).
fn of_meminfo(text: &str) -> HostMemory {
    let field = |name: &str| -> Option<u64> {
        let kib = text.lines().find_map(|line| line.strip_prefix(name))?;
        kib.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    HostMemory { total_mib: field("MemTotal:"), available_mib: field("MemAvailable:") }
}

/// The folders of the control groups that bound the memory of a process with this `/proc/PID/cgroup`
/// (cgroups(7)), its own and all above: `0::/user.slice/a` of version 2, `4:memory:/a` of version 1.
fn groups(text: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let top = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            list if list.split(',').any(|one| one == "memory") => Path::new("/sys/fs/cgroup/memory"),
            _ => continue,
        };
        // In a container, the path may be the host's; the mounted root is then kshot's own group.
        folders.extend(
            Path::new(path).ancestors().filter_map(|path| Some(top.join(path.strip_prefix("/").ok()?))),
        );
    }
    folders
}

/// The limit of a control group, and how much of it is left; `None` for one without a limit
/// (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst).
fn of_group(folder: &Path) -> Option<HostMemory> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number =
        |names: [&str; 2]| -> Option<u64> { names.iter().find_map(|name| text(name))?.trim().parse().ok() };
    // Version 2 says "max" for no limit, which does not parse; version 1 gives the largest number.
    let limit = number(["memory.max", "memory.limit_in_bytes"]).filter(|limit| *limit < 1 << 60)?;
    let used = number(["memory.current", "memory.usage_in_bytes"])?;
    // Inactive page cache can be reclaimed.
    let cached = text("memory.stat").and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse::<u64>().ok()
    });
    let left = limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0)));
    Some(HostMemory { total_mib: Some(limit >> 20), available_mib: Some(left >> 20) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_bounds_what_the_host_has() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("memory.max", "max\n");
        put("memory.current", "1000\n");
        assert_eq!(of_group(folder.path()), None);
        put("memory.max", &format!("{}\n", 1_u64 << 30));
        put("memory.current", &format!("{}\n", 800_u64 << 20));
        put("memory.stat", &format!("anon 5\ninactive_file {}\n", 300_u64 << 20));
        let group = of_group(folder.path()).unwrap();
        assert_eq!(group, HostMemory { total_mib: Some(1024), available_mib: Some(524) });
        let host = of_meminfo("MemTotal:       65536000 kB\nMemFree: 1 kB\nMemAvailable:   32768000 kB\n");
        assert_eq!(host, HostMemory { total_mib: Some(64_000), available_mib: Some(32_000) });
        assert_eq!(host.least(group), group);
        assert_eq!(host.least(HostMemory::default()), host);
    }

    #[test]
    fn the_groups_of_a_process_and_those_above_are_found() {
        let found = groups("9:name=systemd:/\n4:memory:/a/b\n0::/user.slice\n");
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/memory/",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup/"
            ]
        );
        assert!(HostMemory::now().available_mib.is_some());
    }

    #[test]
    fn room_is_what_is_left_and_what_is_promised() {
        let memory = HostMemory { total_mib: Some(2000), available_mib: Some(900) };
        assert!(memory.has_room(0, 900) && !memory.has_room(0, 901));
        assert!(memory.has_room(1100, 900) && !memory.has_room(1101, 900), "it was promised to others");
        assert!(HostMemory::default().has_room(1, 1));
    }
}

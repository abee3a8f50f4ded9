//! Slots limit how many machines and builds run on this host at once, over all kshot processes. A slot is a locked
//! file, so the kernel releases it however its holder ends.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::host::cache::{self, Cache, CacheError};
use crate::progress::Progress;

/// The memory of one machine in MiB, at most: a guest of 256 MiB, QEMU itself, and a kernel's DWARF.
const SLOT_MEMORY_MIB: usize = 768;
/// The longest wait for a free slot: other processes may be building kernels.
const WAIT_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// The wait after which the user is told about it.
const NOTICE_AFTER: Duration = Duration::from_secs(3);

/// The slots of a host: one for each processor, as far as its memory reaches.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    cache: &'a Cache,
    cores: usize,
}

/// One slot, held until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

impl<'a> Slots<'a> {
    /// The slots of this host.
    pub fn of_this_host(cache: &'a Cache) -> Self {
        Self { cache, cores: thread::available_parallelism().map_or(1, usize::from) }
    }

    /// The number of slots while none is taken, at least one.
    pub fn count(&self) -> usize {
        slot_count(self.cores, 0, available_mib())
    }

    /// Waits for a free slot, and prints a note if the wait takes longer than three seconds.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn take(&self, progress: &Progress) -> Result<Slot, CacheError> {
        let mut notice = Some(Deadline::new("a slot, without a word", NOTICE_AFTER));
        cache::poll_lock("a free slot: other runs or builds of kshot keep this host busy", WAIT_LIMIT, || {
            let slot = self.free()?;
            if slot.is_none() && notice.take_if(|notice| notice.has_passed()).is_some() {
                progress.print_line("waits for a free slot: other runs and builds keep this host busy");
            }
            Ok(slot)
        })
    }

    /// Takes a slot without waiting; `None` if all are taken.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn free(&self) -> Result<Option<Slot>, CacheError> {
        let mut free = Vec::new();
        for number in 0..self.cores {
            free.extend(self.cache.try_lock(&format!("slot-{number}"))?);
        }
        let held = self.cores - free.len();
        let one = free.pop().filter(|_| held < slot_count(self.cores, held, available_mib()));
        Ok(one.map(|lock| Slot { _lock: lock }))
    }
}

/// The number of slots of a host, of which `held` are taken. `available` MiB are free, in addition to the memory of the
/// taken slots.
fn slot_count(cores: usize, held: usize, available: Option<usize>) -> usize {
    available.map_or(cores, |available| cores.min(held + available / SLOT_MEMORY_MIB)).max(1)
}

/// `MemAvailable` of proc_meminfo(5), in MiB.
fn available_mib() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_holders_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let slots = Slots { cache: &cache, cores: 2 };
        let quiet = Progress::silent();
        let (first, second) = (slots.take(&quiet).unwrap(), slots.take(&quiet).unwrap());
        assert!(slots.free().unwrap().is_none());
        let waits = thread::scope(|scope| {
            let third = scope.spawn(|| slots.take(&Progress::silent()).map(drop));
            drop(first);
            third.join().unwrap()
        });
        waits.unwrap();
        assert!(slots.free().unwrap().is_some());
        drop(second);
    }

    #[test]
    fn memory_bounds_what_processors_would_carry() {
        assert_eq!(slot_count(8, 0, Some(8 * SLOT_MEMORY_MIB)), 8);
        assert_eq!(slot_count(8, 0, Some(3 * SLOT_MEMORY_MIB)), 3);
        assert_eq!(slot_count(8, 3, Some(SLOT_MEMORY_MIB)), 4, "what runs has its memory already");
        assert_eq!(slot_count(8, 3, Some(0)), 3);
        assert_eq!(slot_count(8, 0, Some(0)), 1);
        assert_eq!(slot_count(8, 0, None), 8);
    }

    #[test]
    fn this_host_has_a_slot() {
        let cache = Cache::at("/nowhere");
        assert!(Slots::of_this_host(&cache).count() >= 1);
        assert!(available_mib().is_some());
    }
}

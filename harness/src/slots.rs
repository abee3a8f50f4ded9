//! How many machines and builds this host carries at once, over all processes of kshot: a slot is a file that is
//! locked, so that the kernel gives it back however its holder ends.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use crate::cache::{Cache, CacheError};
use crate::deadline::{Deadline, TimedOut, Turn};
use crate::fault::{Blame, Fault};
use crate::machine;
use crate::progress::Progress;

/// What a machine takes at the most, with QEMU's and gdb's own: a guest of 256 MiB, and gdb with a kernel's DWARF.
const MEMORY_MIB: usize = 768;
/// How long it may take until a slot is free: somebody may build kernels.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// How long one waits before it is told.
const QUIET: Duration = Duration::from_secs(3);
/// How often is looked: no signal tells that a lock was let go.
const PACE: Duration = Duration::from_millis(10);

/// The host's slots.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    cache: &'a Cache,
    count: usize,
}

/// One slot, ours until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The locks cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// All were taken for too long.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// SIGINT or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

impl Fault for SlotError {
    fn blame(&self) -> Blame {
        match self {
            Self::Cache(error) => error.blame(),
            Self::TimedOut(_) => Blame::Infra,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::TimedOut(_) => Some("other runs or builds of kshot keep this host busy".into()),
            Self::Interrupted => None,
        }
    }
}

impl<'a> Slots<'a> {
    /// As many as there are processors, and no more than there is memory for now; one at least.
    pub fn of_host(cache: &'a Cache) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let memory = available_mib().map_or(cores, |mib| mib / MEMORY_MIB);
        Self { cache, count: cores.min(memory).max(1) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for a slot, and says so where it is not over at once.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn take(&self, progress: &Progress) -> Result<Slot, SlotError> {
        let deadline = Deadline::new("a free slot for a machine", LIMIT);
        let mut patience = Some(Deadline::new("a slot, without a word", QUIET));
        deadline.poll(|slice| {
            if machine::interrupted() {
                return Err(SlotError::Interrupted);
            }
            if let Some(slot) = self.free()? {
                return Ok(Turn::Done(slot));
            }
            if patience.take_if(|patience| patience.expired()).is_some() {
                let count = self.count;
                progress.note(&format!("waits: other runs and builds hold all {count} slots of this host"));
            }
            thread::park_timeout(slice.min(PACE));
            Ok(Turn::NotYet(None))
        })
    }

    /// A slot that is free now.
    ///
    /// # Errors
    /// [`SlotError::Cache`].
    pub fn free(&self) -> Result<Option<Slot>, SlotError> {
        for number in 0..self.count {
            if let Some(lock) = self.cache.try_lock(&format!("slot-{number}"))? {
                return Ok(Some(Slot { _lock: lock }));
            }
        }
        Ok(None)
    }
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
        let slots = Slots { cache: &cache, count: 2 };
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
    fn this_host_has_a_slot() {
        let cache = Cache::at("/nowhere");
        assert!(Slots::of_host(&cache).count() >= 1);
        assert!(available_mib().is_some());
    }
}

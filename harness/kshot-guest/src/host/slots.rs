//! Slots limit how many machines and builds run on this host at once, over all kshot processes. A slot is a
//! locked file, which says how much memory its holder needs; the kernel releases it however its holder ends.

mod memory; // how much memory this host has for us

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use self::memory::HostMemory;
use crate::deadline::Deadline;
use crate::host::cache::{self, Cache, CacheError};
use crate::host::file::FileError;
use crate::progress::Progress;

/// The memory of a machine beside its guest's, in MiB: QEMU itself, and a kernel's DWARF.
const BESIDE_GUEST_MIB: u64 = 512;
/// The memory of a build for each processor, in MiB: a compiler.
const BUILD_MIB: u64 = 512;
/// The guest memory that [`Slots::count`] assumes, in MiB: what most scenarios use.
const USUAL_GUEST_MIB: u64 = 256;
/// The longest wait for a free slot: other processes may be building kernels.
const WAIT_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// The lock of the process that takes all slots.
const ALL_SLOTS: &str = "all-slots";
/// How long to wait before telling the user.
const NOTICE_AFTER: Duration = Duration::from_secs(3);

/// The slots of a host: one for each processor, as far as its memory reaches.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    cache: &'a Cache,
    cores: usize,
    memory: fn() -> HostMemory,
}

/// One slot, held until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

/// The use of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotUse {
    /// A machine, with its guest's memory in MiB.
    Machine(u32),
    /// A build's share of one processor.
    Build,
}

impl SlotUse {
    fn memory_mib(self) -> u64 {
        match self {
            Self::Machine(guest_mib) => u64::from(guest_mib) + BESIDE_GUEST_MIB,
            Self::Build => BUILD_MIB,
        }
    }
}

impl<'a> Slots<'a> {
    /// The slots of this host.
    pub fn of_this_host(cache: &'a Cache) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { cache, cores, memory: HostMemory::now }
    }

    /// The number of machines of the usual size that this host carries while no slot is taken, at least one.
    pub fn count(&self) -> usize {
        let each = USUAL_GUEST_MIB + BESIDE_GUEST_MIB;
        let most = (self.memory)().available_mib.map_or(self.cores as u64, |available| available / each);
        usize::try_from(most).unwrap_or(usize::MAX).clamp(1, self.cores)
    }

    /// Waits for a free slot, and prints a note if the wait takes longer than three seconds.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn take(&self, usage: SlotUse, progress: &Progress) -> Result<Slot, CacheError> {
        self.wait("a free slot: other runs or builds of kshot keep this host busy", progress, || {
            self.free(usage)
        })
    }

    /// Waits for a free slot and takes all others that are free: a build's processes, one a slot.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn take_for_build(&self, progress: &Progress) -> Result<Vec<Slot>, CacheError> {
        let mut held = vec![self.take(SlotUse::Build, progress)?];
        while let Some(slot) = self.free(SlotUse::Build)? {
            held.push(slot);
        }
        Ok(held)
    }

    /// Waits until no slot is taken, and takes all of them: nothing else of kshot runs until they are
    /// dropped.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn take_all(&self, progress: &Progress) -> Result<Vec<Slot>, CacheError> {
        let what = "all other runs and builds of kshot to end";
        // One process at a time: two that each hold some of the slots would wait for each other.
        let _turn = self.wait(what, progress, || self.cache.try_lock(ALL_SLOTS))?;
        let mut held = Vec::new();
        self.wait(what, progress, || {
            // Each slot is kept as it becomes free; otherwise others would take it again and again.
            held.extend(self.unheld()?.into_iter().map(|(lock, _)| Slot { _lock: lock }));
            Ok((held.len() == self.cores).then_some(()))
        })?;
        Ok(held)
    }

    /// Takes a slot without waiting; `None` if all are taken or memory is short. If no slot is taken, the
    /// first is granted whatever the memory.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn free(&self, usage: SlotUse) -> Result<Option<Slot>, CacheError> {
        let mut free = self.unheld()?;
        let held = self.cores - free.len();
        let needed = usage.memory_mib();
        if held > 0 && !(self.memory)().has_room(self.held_mib(&free), needed) {
            return Ok(None);
        }
        let Some((mut lock, path)) = free.pop() else { return Ok(None) };
        let written = lock.set_len(0).and_then(|()| lock.write_all(needed.to_string().as_bytes()));
        written.map_err(FileError::on("write", &path))?;
        Ok(Some(Slot { _lock: lock }))
    }

    fn wait<T>(
        &self,
        what: &str,
        progress: &Progress,
        mut look: impl FnMut() -> Result<Option<T>, CacheError>,
    ) -> Result<T, CacheError> {
        let mut notice = Some(Deadline::new("a slot, without a word", NOTICE_AFTER));
        cache::poll_lock(what, WAIT_LIMIT, || {
            let found = look()?;
            if found.is_none() && notice.take_if(|notice| notice.has_passed()).is_some() {
                progress.print_wait(what);
            }
            Ok(found)
        })
    }

    /// The slots that nobody holds, locked, and their files.
    fn unheld(&self) -> Result<Vec<(File, PathBuf)>, CacheError> {
        let mut free = Vec::new();
        for number in 0..self.cores {
            let name = slot_name(number);
            free.extend(self.cache.try_lock(&name)?.map(|lock| (lock, self.cache.lock_file(&name))));
        }
        Ok(free)
    }

    /// What the holders of all slots but these need together, in MiB.
    fn held_mib(&self, free: &[(File, PathBuf)]) -> u64 {
        let paths = (0..self.cores).map(|number| self.cache.lock_file(&slot_name(number)));
        let held = paths.filter(|path| !free.iter().any(|(_, own)| own == path));
        held.map(|path| {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(20).read_to_string(&mut text));
            // Another process is taking the slot right now, or an older kshot holds it, which records no
            // memory.
            read.ok().and_then(|_| text.parse().ok()).unwrap_or(USUAL_GUEST_MIB + BESIDE_GUEST_MIB)
        })
        .sum()
    }
}

fn slot_name(number: usize) -> String {
    format!("slot-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(cache: &Cache, memory: fn() -> HostMemory) -> Slots<'_> {
        Slots { cache, cores: 2, memory }
    }

    fn plenty() -> HostMemory {
        HostMemory { total_mib: Some(64 << 10), available_mib: Some(64 << 10) }
    }

    fn scarce() -> HostMemory {
        HostMemory { total_mib: Some(2048), available_mib: Some(2048) }
    }

    #[test]
    fn a_slot_is_one_holders_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let slots = slots(&cache, plenty);
        let quiet = Progress::silent();
        let take = || slots.take(SlotUse::Machine(256), &quiet).unwrap();
        let (first, second) = (take(), take());
        assert!(slots.free(SlotUse::Build).unwrap().is_none());
        let waits = thread::scope(|scope| {
            let third = scope.spawn(|| slots.take(SlotUse::Build, &Progress::silent()).map(drop));
            drop(first);
            third.join().unwrap()
        });
        waits.unwrap();
        let free = slots.free(SlotUse::Build).unwrap();
        drop((second, free));
        assert_eq!(slots.take_all(&quiet).unwrap().len(), 2);
    }

    #[test]
    fn all_slots_are_had_although_one_of_them_is_always_taken() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let slots = slots(&cache, plenty);
        let ended = std::sync::atomic::AtomicBool::new(false);
        let most = Deadline::new("all slots", Duration::from_secs(20));
        let all = thread::scope(|scope| {
            // Each takes a slot before it lets go of the last one, so that never both are free at once.
            scope.spawn(|| {
                let mut held = slots.free(SlotUse::Build).unwrap();
                while !ended.load(std::sync::atomic::Ordering::Relaxed) && !most.has_passed() {
                    let next = slots.free(SlotUse::Build).unwrap();
                    held = next.or_else(|| {
                        drop(held.take());
                        slots.free(SlotUse::Build).unwrap()
                    });
                }
            });
            let all = slots.take_all(&Progress::silent());
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            all
        });
        assert_eq!(all.unwrap().len(), 2);
        assert!(!most.has_passed());
    }

    #[test]
    fn a_guest_of_much_memory_waits_until_there_is_so_much() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let slots = slots(&cache, scarce);
        let large = slots.free(SlotUse::Machine(1024)).unwrap().unwrap();
        assert!(slots.free(SlotUse::Machine(1024)).unwrap().is_none(), "both of them do not fit");
        let small = slots.free(SlotUse::Build).unwrap();
        assert!(small.is_some());
        drop((large, small));
        assert!(slots.free(SlotUse::Machine(16 << 10)).unwrap().is_some(), "alone, it may try");
    }

    #[test]
    fn memory_bounds_what_processors_would_carry() {
        let cache = Cache::at("/nowhere");
        let count = |memory| Slots { cache: &cache, cores: 8, memory }.count();
        assert_eq!(count(HostMemory::default), 8);
        assert_eq!(count(scarce), 2);
        assert_eq!(count(|| HostMemory { total_mib: None, available_mib: Some(0) }), 1);
    }
}

//! The cache folder: content-addressed entries, written atomically, locked against concurrent builders.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::file::{FileError, sync_all, user_folder};
use super::interrupt;
use super::scratch::ScratchFolder;
use crate::deadline::{Deadline, PollResult, TimedOut};
use kshot_stack::blame::{Blame, Blamed};

mod sums; // whether the files of an entry are still what they were

pub use sums::SUMS;

/// The folder of the lock files; it holds no entries.
const LOCKS: &str = "locks";
/// The folder of large files that become no entry.
const SCRATCH: &str = ".scratch";
/// The name prefix of folders that are being created.
const DRAFT_PREFIX: &str = ".draft-";
/// The name prefix of folders that are being removed.
const REMOVED_PREFIX: &str = ".gone-";
/// The longest wait for a lock; its holder may be building a kernel.
const LOCK_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
/// The longest wait for the lock of an entry that is to be removed: a process that was just forked may hold
/// it.
const REMOVE_LOCK_LIMIT: Duration = Duration::from_secs(2);
/// The interval between attempts to take a lock: no signal tells that a lock was released.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The user's cache of downloads and builds: `${XDG_CACHE_HOME:-~/.cache}/kshot`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Why a cache operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set to an absolute path")]
    NoHome,
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process held a lock for too long.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// A damaged entry cannot be replaced, because another process has it in use.
    #[error("{} is damaged, and another process works in it", path.display())]
    Damaged {
        /// The folder of the entry.
        path: PathBuf,
    },
    /// SIGINT or SIGTERM arrived during the wait.
    #[error("interrupted")]
    Interrupted,
}

impl Blamed for CacheError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoHome => Blame::Usage,
            Self::File(_) | Self::TimedOut(_) | Self::Damaged { .. } => Blame::Host,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set XDG_CACHE_HOME to a folder with some gigabytes free".into()),
            Self::Damaged { .. } => Some("wait until that process ends, then try again".into()),
            _ => None,
        }
    }
}

/// A cache entry under construction: a folder that becomes the entry on [`Draft::commit`] and is removed
/// otherwise. The draft holds the entry's lock.
#[derive(Debug)]
pub struct Draft {
    folder: tempfile::TempDir,
    prefix: String,
    target: PathBuf,
    _lock: File,
}

/// A cache entry on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The kind of the entry ("kernels", "states").
    pub kind: String,
    /// The key of the entry.
    pub key: String,
    /// The disk space that the entry takes, in bytes.
    pub bytes: u64,
    /// The time of the entry's creation or, for a kind that is evicted, of its last use.
    pub last_used: SystemTime,
    /// The folder of the entry.
    pub path: PathBuf,
}

/// The answer to [`Cache::find_or_draft`].
#[derive(Debug)]
pub enum Lookup {
    /// The folder of an existing entry.
    Found(PathBuf),
    /// The draft of a missing entry, which the caller alone has to fill.
    Missing(Draft),
}

impl Cache {
    /// The user's cache.
    ///
    /// # Errors
    /// [`CacheError::NoHome`].
    pub fn default_path() -> Result<Self, CacheError> {
        Ok(Self::at(user_folder("XDG_CACHE_HOME", ".cache").ok_or(CacheError::NoHome)?.join("kshot")))
    }

    /// A cache at a path of the caller's choice, created on the first write.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache's root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the entry `kind`/`key`, `None` if there is no such entry. Neither waits nor writes.
    pub fn find(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.path(kind, key);
        path.is_dir().then_some(path)
    }

    /// The entry `kind`/`key`, or a draft to create it. If another process is creating the entry, this calls
    /// `on_wait` once and waits for that process; the kernel releases the lock even if that process dies.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn find_or_draft(&self, kind: &str, key: &str, on_wait: impl FnOnce()) -> Result<Lookup, CacheError> {
        if let Some(ready) = self.find(kind, key) {
            return Ok(Lookup::Found(ready));
        }
        let parent = self.root.join(kind);
        create_dir_all(&parent)?;
        let lock = self.lock(&format!("{kind}-{key}"), on_wait)?;
        if let Some(ready) = self.find(kind, key) {
            return Ok(Lookup::Found(ready));
        }
        let prefix = format!("{DRAFT_PREFIX}{key}-");
        // We hold the lock, so whoever began these is dead.
        remove_drafts(&parent, &prefix)?;
        let folder = temp_folder(&parent, &prefix)?;
        Ok(Lookup::Missing(Draft { folder, prefix, target: self.path(kind, key), _lock: lock }))
    }

    /// The entry `kind`/`key` if it was committed with sums and is whole, or a draft to create it, as
    /// [`Self::find_or_draft`] gives. A damaged entry is removed; `on_damage` is told of it.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn find_whole_or_draft(
        &self,
        kind: &str,
        key: &str,
        on_wait: impl FnOnce(),
        on_damage: impl FnOnce(),
    ) -> Result<Lookup, CacheError> {
        let lookup = self.find_or_draft(kind, key, on_wait)?;
        match &lookup {
            Lookup::Found(folder) if !sums::are_right(folder) => {}
            _ => return Ok(lookup),
        }
        on_damage();
        self.remove(kind, key)?;
        match self.find_or_draft(kind, key, || ())? {
            // Another process was faster, or would not let it go.
            Lookup::Found(path) if !sums::are_right(&path) => Err(CacheError::Damaged { path }),
            lookup => Ok(lookup),
        }
    }

    /// The first damaged file of the entries that `paths` are of, as far as those were committed with sums. Each
    /// entry is read once.
    pub fn damaged_file<'a>(&self, paths: impl IntoIterator<Item = &'a PathBuf>) -> Option<PathBuf> {
        let entries: BTreeSet<_> = paths.into_iter().filter_map(|path| self.entry_of(path)).collect();
        entries.iter().find_map(|(kind, key)| sums::damaged_file(&self.path(kind, key)))
    }

    /// Removes the entry that `path` is of, as [`Self::remove`] does; `false` where it is of none.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn remove_entry_of(&self, path: &Path) -> Result<bool, CacheError> {
        self.entry_of(path).map_or(Ok(false), |(kind, key)| self.remove(&kind, &key))
    }

    /// The kind and the key of the entry that `path` is of.
    fn entry_of(&self, path: &Path) -> Option<(String, String)> {
        let mut names = path.strip_prefix(&self.root).ok()?.iter().map(|name| name.to_str());
        Some((names.next()??.to_owned(), names.next()??.to_owned()))
    }

    /// A folder for large files that become no entry.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn scratch(&self) -> Result<ScratchFolder, CacheError> {
        let parent = self.root.join(SCRATCH);
        create_dir_all(&parent)?;
        Ok(ScratchFolder::create_in(&parent).map_err(FileError::on("create a folder in", &parent))?)
    }

    /// Takes the exclusive inter-process lock `name`; dropping the returned file releases it. `on_wait` is
    /// called once if another process holds the lock.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn lock(&self, name: &str, on_wait: impl FnOnce()) -> Result<File, CacheError> {
        if let Some(file) = self.try_lock(name)? {
            return Ok(file);
        }
        on_wait();
        let what = format!("whoever holds {}", self.lock_file(name).display());
        poll_lock(&what, LOCK_LIMIT, || self.try_lock(name))
    }

    /// Takes the lock `name` as [`Self::lock`] does, without waiting; `None` if another process holds it.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn try_lock(&self, name: &str) -> Result<Option<File>, CacheError> {
        let (file, path) = self.create_lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => {
                Err(CacheError::File(FileError { action: "lock", path, source }))
            }
        }
    }

    /// The path of the lock file `name`.
    pub(super) fn lock_file(&self, name: &str) -> PathBuf {
        self.root.join(LOCKS).join(name)
    }

    /// Marks an entry as used now, for [`Self::evict`].
    pub fn mark_used(&self, kind: &str, key: &str) {
        // A cache that cannot be written still serves; what is used then merely seems older.
        drop(File::open(self.path(kind, key)).and_then(|folder| folder.set_modified(SystemTime::now())));
    }

    /// Every entry of the cache, sorted by kind and last use, oldest first. Drafts are left out.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn entries(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let mut held = Vec::new();
        for kind in self.kinds()? {
            held.extend(self.entries_of_kind(&kind)?);
        }
        held.sort_by(|a, b| (&a.kind, a.last_used).cmp(&(&b.kind, b.last_used)));
        Ok(held)
    }

    /// The kinds of entries in the cache, including kinds whose entries were all removed.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn kinds(&self) -> Result<Vec<String>, CacheError> {
        Ok(folders(&self.root)?.into_iter().filter(|kind| kind != LOCKS && !kind.starts_with('.')).collect())
    }

    fn entries_of_kind(&self, kind: &str) -> Result<Vec<CacheEntry>, CacheError> {
        let mut held = Vec::new();
        for key in folders(&self.root.join(kind))?.into_iter().filter(|key| !key.starts_with('.')) {
            let path = self.path(kind, &key);
            let Some(folder) = if_exists(path.metadata(), &path)? else { continue };
            let last_used = folder.modified().map_err(FileError::on("read", &path))?;
            held.push(CacheEntry { kind: kind.into(), bytes: disk_usage(&path)?, last_used, key, path });
        }
        Ok(held)
    }

    /// Removes an entry; other processes see either all of it or nothing. A machine that has opened its files
    /// keeps them. Returns `false`, and removes nothing, if another process holds the entry's lock and so is
    /// using it.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn remove(&self, kind: &str, key: &str) -> Result<bool, CacheError> {
        // `remove_abandoned` skips this entry while the lock is held.
        let name = format!("{kind}-{key}");
        let _lock = match poll_lock(&name, REMOVE_LOCK_LIMIT, || self.try_lock(&name)) {
            Err(CacheError::TimedOut(_)) => return Ok(false),
            lock => lock?,
        };
        let aside = temp_folder(&self.root.join(kind), &format!("{REMOVED_PREFIX}{key}-"))?;
        let path = self.path(kind, key);
        match fs::rename(&path, aside.path().join(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::File(FileError { action: "remove", path, source: error }))
            }
            _ => Ok(true),
        }
    }

    /// Evicts entries of one kind as [`Self::evict_until`] does, and removes what killed processes left of
    /// that kind.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn evict(&self, kind: &str, limit: u64) -> Result<Vec<CacheEntry>, CacheError> {
        self.remove_abandoned(kind)?;
        self.evict_until(self.entries_of_kind(kind)?, limit)
    }

    /// Removes the drafts and half-removed entries that killed processes left of one kind. Returns the disk
    /// space freed, in bytes.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn remove_abandoned(&self, kind: &str) -> Result<u64, CacheError> {
        let parent = self.root.join(kind);
        let mut bytes = 0;
        for name in folders(&parent)? {
            let unique = name.strip_prefix(DRAFT_PREFIX).or_else(|| name.strip_prefix(REMOVED_PREFIX));
            let Some((key, _)) = unique.and_then(|unique| unique.rsplit_once('-')) else { continue };
            // Whoever makes the entry holds its lock.
            if let Some(_lock) = self.try_lock(&format!("{kind}-{key}"))? {
                let path = parent.join(&name);
                bytes += disk_usage(&path)?;
                remove_all(&path)?;
            }
        }
        Ok(bytes)
    }

    /// Removes the least recently used entries until the rest takes at most `limit` bytes of disk. Returns
    /// the removed entries.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn evict_until(
        &self,
        mut entries: Vec<CacheEntry>,
        limit: u64,
    ) -> Result<Vec<CacheEntry>, CacheError> {
        entries.sort_by_key(|held| held.last_used);
        let mut bytes: u64 = entries.iter().map(|held| held.bytes).sum();
        let mut gone = Vec::new();
        for held in entries {
            if bytes <= limit {
                break;
            }
            if self.remove(&held.kind, &held.key)? {
                bytes -= held.bytes;
                gone.push(held);
            }
        }
        Ok(gone)
    }

    fn create_lock_file(&self, name: &str) -> Result<(File, PathBuf), CacheError> {
        create_dir_all(&self.root.join(LOCKS))?;
        let path = self.lock_file(name);
        // Another process holds the lock and is using the folder.
        match File::options().create(true).truncate(false).read(true).write(true).open(&path) {
            Ok(file) => Ok((file, path)),
            Err(source) => Err(CacheError::File(FileError { action: "create", path, source })),
        }
    }

    fn path(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(key)
    }
}

impl Draft {
    /// The draft's folder. Paths in the entry's files must be relative, because the folder moves on commit.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A temporary folder beside the draft for intermediate files; it is removed when dropped.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn scratch(&self) -> Result<tempfile::TempDir, CacheError> {
        temp_folder(self.target.parent().unwrap_or(Path::new(".")), &self.prefix)
    }

    /// Commits the draft as [`Self::commit`] does, with the sums of its files.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn commit_with_sums(self) -> Result<PathBuf, CacheError> {
        sums::write(self.folder.path())?;
        self.commit()
    }

    /// Turns the draft into the entry with a single rename, once all of it is on disk: a power loss leaves no
    /// entry that only looks whole. Returns the entry's folder.
    ///
    /// # Errors
    /// [`CacheError::File`].
    pub fn commit(self) -> Result<PathBuf, CacheError> {
        sync_all(self.folder.path())?;
        let path = self.folder.keep();
        fs::rename(&path, &self.target).map_err(|source| {
            CacheError::File(FileError { action: "rename into place", path: self.target.clone(), source })
        })?;
        Ok(self.target)
    }
}

/// Polls until `look` returns a lock. flock(2) itself would block and could not be interrupted.
///
/// # Errors
/// [`CacheError`].
pub fn poll_lock<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, CacheError>,
) -> Result<T, CacheError> {
    Deadline::new(what, limit).poll(|slice| {
        if interrupt::arrived() {
            return Err(CacheError::Interrupted);
        }
        if let Some(found) = look()? {
            return Ok(PollResult::Done(found));
        }
        thread::park_timeout(slice.min(LOCK_POLL_INTERVAL));
        Ok(PollResult::Pending(None))
    })
}

/// The cache key of `parts`: 16 hexadecimal digits of the SHA-256 over the parts, each preceded by its
/// length.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())[..16].to_owned()
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`CacheError::File`].
pub fn sha256_file(path: &Path) -> Result<String, CacheError> {
    let fail = |source| CacheError::File(FileError { action: "read", path: path.into(), source });
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).map_err(fail)?, &mut HashWriter(&mut hash)).map_err(fail)?;
    Ok(hex::encode(hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The names of the folders in a folder; empty if that folder does not exist.
fn folders(path: &Path) -> Result<Vec<String>, CacheError> {
    let mut names = Vec::new();
    for entry in if_exists(fs::read_dir(path), path)?.into_iter().flatten() {
        let entry = entry.map_err(FileError::on("read", path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The disk space of a file or folder in bytes. Holes do not count, nor do files that are removed meanwhile.
fn disk_usage(path: &Path) -> Result<u64, CacheError> {
    let Some(metadata) = if_exists(path.symlink_metadata(), path)? else { return Ok(0) };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in if_exists(fs::read_dir(path), path)?.into_iter().flatten() {
            bytes += disk_usage(&entry.map_err(FileError::on("read", path))?.path())?;
        }
    }
    Ok(bytes)
}

/// `None` for a file that does not exist: other processes may remove it at any time.
fn if_exists<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, CacheError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => Ok(result.map(Some).map_err(FileError::on("read", path))?),
    }
}

fn temp_folder(parent: &Path, prefix: &str) -> Result<tempfile::TempDir, CacheError> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
    made.map_err(|source| {
        CacheError::File(FileError { action: "create a folder in", path: parent.into(), source })
    })
}

fn remove_drafts(parent: &Path, prefix: &str) -> Result<(), CacheError> {
    let mut left = folders(parent)?.into_iter().filter(|name| name.starts_with(prefix));
    left.try_for_each(|name| remove_all(&parent.join(name)))
}

/// Removes a folder that another process may be removing at the same time.
fn remove_all(path: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CacheError::File(FileError { action: "remove", path: path.into(), source }))
        }
        _ => Ok(()),
    }
}

fn create_dir_all(path: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(path)
        .map_err(|source| CacheError::File(FileError { action: "create", path: path.into(), source }))
}

#[cfg(test)]
mod tests;

//! Temporary folders that do not pile up: if a process dies without removing its folder, the next kshot
//! removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

/// How the names of the folders begin.
const PREFIX: &str = "kshot-scratch-";

/// A temporary folder, locked while this value lives, and removed with it.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: TempDir,
    /// The folder itself. The kernel releases the lock however its holder ends.
    lock: File,
}

impl ScratchFolder {
    /// A new folder in the system's temporary folder. Removes the folders there whose processes have died.
    ///
    /// # Errors
    /// The errors of mkdir(2) and flock(2).
    pub fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    /// A new folder in `parent`, for what is then renamed to a place beside it.
    ///
    /// # Errors
    /// The errors of mkdir(2) and flock(2).
    pub fn create_in(parent: &Path) -> io::Result<Self> {
        remove_abandoned(parent);
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            // Before this lock is taken, another process may take the folder for an abandoned one and remove
            // it.
            let lock = match File::open(folder.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            lock.lock()?;
            if lock.metadata()?.nlink() > 0 {
                return Ok(Self { folder, lock });
            }
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The open folder: what lies in it can be reached by a short path, `/proc/self/fd/<number>`
    /// (proc_pid_fd(5)).
    pub fn handle(&self) -> &File {
        &self.lock
    }
}

/// Removes the folders that no process has locked. One that cannot be removed is left; it does no harm.
fn remove_abandoned(parent: &Path) {
    let owner = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|folder| folder.is_dir() && folder.uid() == owner);
        if is_ours
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_have_a_folder_each() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let folder = ScratchFolder::create_in(parent.path()).unwrap();
                        fs::write(folder.path().join("file"), "").unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_folders_of_the_dead_are_removed_and_no_other() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("kshot-scratch-dead");
        fs::create_dir_all(dead.join("inside")).unwrap();
        fs::create_dir(parent.path().join("kshot-of-the-user")).unwrap();
        let held = ScratchFolder::create_in(parent.path()).unwrap();
        assert!(!dead.exists());
        let other = ScratchFolder::create_in(parent.path()).unwrap();
        assert!(held.path().is_dir() && other.path().is_dir());
        assert!(parent.path().join("kshot-of-the-user").is_dir());
        let gone = held.path().to_owned();
        drop(held);
        assert!(!gone.exists());
    }
}

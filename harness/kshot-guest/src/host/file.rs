//! The error of a file operation, and the folders' contents.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kshot_stack::blame::{Blame, Blamed};
use rustix::io::Errno;

/// A file operation on the host that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.to_string_lossy().replace('\n', "\\n"))]
pub struct FileError {
    /// The verb of the failed operation ("create", "lock", "rename").
    pub action: &'static str,
    /// The path that the operation was on.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl FileError {
    /// The error of `action` on `path`, for `map_err`.
    pub fn on(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { action, path: path.clone(), source }
    }
}

impl Blamed for FileError {}

impl FileError {
    /// Who has to act where the file was to be read and is somebody's input: the host where it could read no
    /// other file either.
    pub fn blame_of_input(&self) -> Blame {
        let of_host = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::NOBUFS, Errno::STALE];
        let code = self.source.raw_os_error();
        if of_host.iter().any(|errno| code == Some(errno.raw_os_error())) {
            Blame::Host
        } else {
            Blame::Input
        }
    }
}

/// One of the user's folders: the one that `variable` names, or `below_home`. A relative path is ignored, as the
/// XDG Base Directory Specification asks.
pub fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    user_folder_by(|name| std::env::var_os(name), variable, below_home)
}

fn user_folder_by(
    value: impl Fn(&str) -> Option<OsString>,
    variable: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let absolute = |name| value(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

/// The paths in a folder, sorted.
///
/// # Errors
/// The folder, or an entry of it, cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(FileError::on("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// Syncs everything below a folder to disk, and nothing else: syncing what other processes wrote may take
/// minutes.
pub(super) fn sync_all(folder: &Path) -> Result<(), FileError> {
    let failed = FileError::on("write", folder);
    for file in fs::read_dir(folder).map_err(FileError::on("list", folder))? {
        let (kind, path) = file.and_then(|file| Ok((file.file_type()?, file.path()))).map_err(&failed)?;
        if kind.is_dir() {
            sync_all(&path)?;
        } else if kind.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).map_err(FileError::on("write", &path))?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_of_the_user_is_ignored() {
        let folder = |xdg: &str, home: &str| {
            let value = |name: &str| match name {
                "HOME" => Some(home.into()),
                _ => Some(xdg.into()),
            };
            user_folder_by(value, "XDG_CACHE_HOME", ".cache")
        };
        assert_eq!(folder("/c", "/h"), Some("/c".into()));
        for xdg in ["", "cache", "./cache"] {
            assert_eq!(folder(xdg, "/h"), Some("/h/.cache".into()), "{xdg}");
            assert_eq!(folder(xdg, "h"), None, "{xdg}");
        }
        assert_eq!(user_folder_by(|_| None, "XDG_CACHE_HOME", ".cache"), None);
    }

    #[test]
    fn a_host_that_can_read_no_file_is_no_fault_of_the_file() {
        let blame = |source| FileError::on("read", Path::new("a.yaml"))(source).blame_of_input();
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO] {
            assert_eq!(blame(errno.into()), Blame::Host, "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::LOOP, Errno::ISDIR] {
            assert_eq!(blame(errno.into()), Blame::Input, "{errno}");
        }
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::FileTooLarge] {
            assert_eq!(blame(io::Error::new(kind, "it")), Blame::Input, "{kind}");
        }
    }
}

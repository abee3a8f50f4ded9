//! The error of a file operation, and the folders' contents.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kshot_stack::blame::Blamed;

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

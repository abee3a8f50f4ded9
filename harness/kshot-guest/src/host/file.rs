//! The error of a file operation.

use std::io;
use std::path::{Path, PathBuf};

use kshot_stack::fault::{Blame, Fault};

/// A file operation on the host that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
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

impl Fault for FileError {
    fn blame(&self) -> Blame {
        Blame::Host
    }
}

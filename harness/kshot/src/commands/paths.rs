//! Paths of the command line, checked before anything is done: what is wrong with one is a fault of the
//! command line, and not of the host.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// A file or folder that exists.
pub(super) fn existing() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| fs::metadata(&path).map(|_| path))
}

/// A file that exists.
pub(super) fn existing_file() -> impl TypedValueParser<Value = PathBuf> {
    existing().try_map(|path| if path.is_dir() { Err(io::Error::other("it is a folder")) } else { Ok(path) })
}

/// A folder that is written to, and made where it does not exist.
pub(super) fn folder() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => Err(io::Error::other("it is not a folder")),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(error),
        Err(error) if path.is_symlink() => Err(error),
        // What else is wrong with it shows when it is made.
        _ => Ok(path),
    })
}

/// A file that is written, in a folder that exists.
pub(super) fn file_to_write() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.map_or(Ok(true), |folder| fs::metadata(folder).map(|metadata| metadata.is_dir())) {
            Err(error) => Err(error),
            Ok(false) => Err(io::ErrorKind::NotADirectory.into()),
            Ok(true) if path.is_dir() => Err(io::Error::other("it is a folder")),
            Ok(true) => Ok(path),
        }
    })
}

/// A regular file that is replaced as a whole, or made.
pub(super) fn file_to_replace() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(error),
        _ => Ok(path),
    })
}

//! The SHA-256 of each file of a download, stored beside the files: apt checked them when it downloaded them,
//! and a power loss, a full disk or a user may have damaged them since.

use std::fs;
use std::path::Path;

use crate::bounded;
use crate::host::FileError;
use crate::host::cache::{CacheError, sha256_file};

/// The file of the sums, in the form of sha256sum(1).
const SUMS: &str = "SHA256SUMS";
/// The largest file of sums, in bytes: a package and all that it depends on are some dozens of files.
const SUMS_BYTES_MOST: u64 = 1 << 20;

/// Writes down the sums of all files in a folder.
///
/// # Errors
/// [`CacheError::File`].
pub(super) fn write(folder: &Path) -> Result<(), CacheError> {
    let mut text = String::new();
    for entry in fs::read_dir(folder).map_err(FileError::on("list", folder))? {
        let entry = entry.map_err(FileError::on("list", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let sum = sha256_file(&entry.path())?;
            text.push_str(&format!("{sum}  {}\n", entry.file_name().to_string_lossy()));
        }
    }
    let path = folder.join(SUMS);
    Ok(fs::write(&path, text).map_err(FileError::on("write", &path))?)
}

/// Whether every file of a folder is present and matches its recorded sum; `false` for a folder without
/// recorded sums.
pub(super) fn are_right(folder: &Path) -> bool {
    let Ok(text) = bounded::read_text(&folder.join(SUMS), SUMS_BYTES_MOST) else { return false };
    let is_right = |line: &str| {
        line.split_once("  ")
            .is_some_and(|(sum, name)| sha256_file(&folder.join(name)).is_ok_and(|found| found == sum))
    };
    !text.is_empty() && text.lines().all(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_is_not_what_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("linux-image_6.1_arm64.deb");
        fs::write(&deb, "a package").unwrap();
        assert!(!are_right(folder.path()), "nobody knows");
        write(folder.path()).unwrap();
        assert!(are_right(folder.path()));
        fs::write(&deb, "a pack").unwrap();
        assert!(!are_right(folder.path()));
        fs::remove_file(&deb).unwrap();
        assert!(!are_right(folder.path()));
    }
}

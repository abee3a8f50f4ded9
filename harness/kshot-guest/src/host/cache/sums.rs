//! The SHA-256 of each file of an entry, stored with the entry: a power loss, a full disk or a user may have
//! damaged the files since they were made.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CacheError, sha256_file};
use crate::bounded;
use crate::host::file::{FileError, list};

/// The file of the sums, in the form of sha256sum(1), with paths from the entry's folder.
pub const SUMS: &str = "SHA256SUMS";
/// The largest file of sums, in bytes: an entry has some hundreds of files.
const SUMS_BYTES_MOST: u64 = 1 << 20;

/// Writes down the sums of all regular files in and below a folder.
///
/// # Errors
/// [`CacheError::File`].
pub(super) fn write(folder: &Path) -> Result<(), CacheError> {
    let mut text = String::new();
    add(&mut text, folder, folder)?;
    let path = folder.join(SUMS);
    Ok(fs::write(&path, text).map_err(FileError::on("write", &path))?)
}

fn add(text: &mut String, root: &Path, folder: &Path) -> Result<(), CacheError> {
    for path in list(folder)? {
        let kind = path.symlink_metadata().map_err(FileError::on("read", &path))?.file_type();
        if kind.is_dir() {
            add(text, root, &path)?;
        } else if kind.is_file() {
            // No line can hold any other name, and no file of kshot's has one.
            let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
            if let Some(inside) = inside.filter(|name| !name.contains('\n')) {
                text.push_str(&format!("{}  {inside}\n", sha256_file(&path)?));
            }
        }
    }
    Ok(())
}

/// Whether sums were written down in a folder and every file matches its own.
pub(super) fn are_right(folder: &Path) -> bool {
    folder.join(SUMS).is_file() && damaged_file(folder).is_none()
}

/// The first file of a folder that is gone or does not match its sum. `None` where no sums were written down:
/// nothing is known of those files.
pub(super) fn damaged_file(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(SUMS);
    if !path.exists() {
        return None;
    }
    let text = bounded::read_text(&path, SUMS_BYTES_MOST).unwrap_or_default();
    if text.is_empty() {
        return Some(path);
    }
    text.lines().find_map(|line| {
        let Some((sum, name)) = line.split_once("  ") else { return Some(path.clone()) };
        let file = folder.join(name);
        let is_right = sha256_file(&file).is_ok_and(|found| found == sum);
        (!is_right).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_or_removed_is_not_what_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("lib/modules/tun.ko");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/bin/busybox", folder.path().join("sh")).unwrap();
        fs::write(&module, "a module").unwrap();
        assert!(!are_right(folder.path()) && damaged_file(folder.path()).is_none(), "nothing is known");
        write(folder.path()).unwrap();
        assert!(are_right(folder.path()));
        fs::write(&module, "a mod").unwrap();
        assert_eq!(damaged_file(folder.path()), Some(module.clone()));
        fs::remove_file(&module).unwrap();
        assert_eq!(damaged_file(folder.path()), Some(module));
        assert!(!are_right(folder.path()));
    }

    #[test]
    fn sums_that_were_damaged_are_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        for damage in ["", "no sum\n", "\u{0}\u{0}"] {
            fs::write(folder.path().join(SUMS), damage).unwrap();
            assert_eq!(damaged_file(folder.path()), Some(folder.path().join(SUMS)), "{damage:?}");
        }
    }
}

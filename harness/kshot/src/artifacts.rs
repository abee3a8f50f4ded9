//! The run folder: the raw captures first, `run.json` last.

mod prune; // removes old run folders

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use kshot_guest::host::FileError;
use kshot_guest::{bounded, records};
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};
use kshot_stack::document::{RunDocument, SCHEMA};
use kshot_stack::foreign::{self, Foreign, ForeignError};
use kshot_stack::name::is_file_name;
use kshot_stack::text::{is_hidden, printable};

pub use prune::prune;

/// The name of the result document in a run folder.
pub const RUN_JSON: &str = "run.json";
/// The name of the document of a sweep in its run folder.
pub const SWEEP_JSON: &str = "sweep.json";
/// The file that protects a run folder from being pruned.
const KEEP_MARKER: &str = "keep";
/// The file that tells a folder of a run that goes on, or that did not finish, from everybody else's.
const UNFINISHED_MARKER: &str = "unfinished";
/// What that file holds.
const UNFINISHED: &str = "kshot: this run did not finish. Its folder goes when there are 20 newer ones like it and a run finishes;\na file `keep` in it prevents that.\n";
/// The most files of an archive from elsewhere: a bundle has some dozens, a night's unit some for each of its
/// runs.
const FILES_MOST: usize = 100_000;
/// How deep a file of such an archive may lie, in folders: unpacking takes the cube of it. A bundle's lie 4
/// deep.
const FOLDERS_MOST: usize = 32;
/// The length of the time at the start of a run folder's name, in bytes.
const TIME_LENGTH: usize = "20261125T020000Z".len();

/// A folder that holds every artifact of one run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The folder itself, locked while the run goes on; `None` where its file system has no locks.
    _lock: Option<fs::File>,
}

/// Why a run folder cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A document names a file outside of its folder.
    #[error("{} names an artifact `{}` outside of its folder", path.display(), name.escape_debug())]
    OutsideFolder {
        /// The path of the document.
        path: PathBuf,
        /// The name of the file outside.
        name: String,
    },
    /// The capture that a probe's stacks come from is not there.
    #[error("{} has no capture of the probe `{probe}`, whose stacks its {RUN_JSON} lists", folder.display())]
    NoCapture {
        /// The run folder.
        folder: PathBuf,
        /// The probe's name.
        probe: String,
    },
    /// A document is refused.
    #[error("{}", path.display())]
    Refused {
        /// The path of the file.
        path: PathBuf,
        /// Why the document is refused.
        source: ForeignError,
    },
}

impl ArtifactsError {
    /// The path that the error is about.
    pub(crate) fn path_mut(&mut self) -> &mut PathBuf {
        match self {
            Self::File(error) => &mut error.path,
            Self::OutsideFolder { path, .. } | Self::Refused { path, .. } => path,
            Self::NoCapture { folder, .. } => folder,
        }
    }
}

impl Blamed for ArtifactsError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::File(error) => Some(error),
            Self::Refused { source, .. } => Some(source),
            Self::OutsideFolder { .. } | Self::NoCapture { .. } => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::File(FileError { path, source, .. }) => match source.kind() {
                // The user named a folder that is not a run folder.
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    if path.ends_with(RUN_JSON) || path.ends_with(SWEEP_JSON) =>
                {
                    Blame::Usage
                }
                // The user named something that is not a file, or not one of kshot's.
                io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge => Blame::Usage,
                _ => Blame::Host,
            },
            Self::OutsideFolder { .. } | Self::NoCapture { .. } => Blame::Usage,
            Self::Refused { .. } => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) if error.source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another folder with --out".into())
            }
            _ => passed_on_hint(self),
        }
    }
}

/// The file of a run folder with the output of a step, both numbers from 1.
pub fn step_file(number: usize, repeat: u32) -> String {
    format!("steps/{number:02}-{repeat:02}.txt")
}

impl RunFolder {
    /// Makes a new folder below `base`, named for the time, the scenario and the kernel.
    ///
    /// # Errors
    /// [`ArtifactsError::File`].
    pub fn create(base: &Path, scenario: &str, kernel: &str) -> Result<Self, ArtifactsError> {
        fs::create_dir_all(base).map_err(FileError::on("create", base))?;
        let RunTime(now) = RunTime::now();
        let name = format!("{now}{}", behind_time(scenario, kernel));
        for attempt in 1_u32.. {
            let path = base.join(if attempt == 1 { name.clone() } else { format!("{name}-{attempt}") });
            match fs::create_dir(&path) {
                Ok(()) => {
                    // A file system without locks is no reason not to run.
                    let lock = fs::File::open(&path).ok().filter(|folder| folder.try_lock().is_ok());
                    let folder = Self { path, _lock: lock };
                    folder.write(UNFINISHED_MARKER, UNFINISHED.as_bytes())?;
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(FileError { action: "create", path, source }.into()),
            }
        }
        unreachable!("some number is free")
    }

    /// The path of the run folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, in which nothing has been written.
    pub fn discard(self) {
        // What is left says that it is unfinished.
        drop(fs::remove_file(self.path.join(UNFINISHED_MARKER)).and_then(|()| fs::remove_dir(&self.path)));
    }

    /// Writes one file, `name` relative to the folder, and creates the folders in between.
    ///
    /// # Errors
    /// [`ArtifactsError::File`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactsError> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(FileError::on("create", parent))?;
        }
        Ok(fs::write(&path, bytes).map_err(FileError::on("write", &path))?)
    }

    /// All files in the folder: name to relative path.
    ///
    /// # Errors
    /// [`ArtifactsError::File`].
    pub fn list_files(&self) -> Result<BTreeMap<String, String>, ArtifactsError> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(FileError::on("list", &folder))? {
                let path = entry.map_err(FileError::on("list", &folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(relative) = path.strip_prefix(&self.path)
                    && relative != Path::new(UNFINISHED_MARKER)
                {
                    let relative = relative.to_string_lossy().into_owned();
                    found.insert(relative.clone(), relative);
                }
            }
        }
        Ok(found)
    }

    /// Writes the result document with one rename. A folder without the document is a run that did not
    /// finish.
    ///
    /// # Errors
    /// [`ArtifactsError::File`].
    pub fn write_document(&self, document: &RunDocument, keep: bool) -> Result<(), ArtifactsError> {
        if keep {
            self.write(KEEP_MARKER, b"")?;
        }
        let path = self.path.join(RUN_JSON);
        let mut text = serde_json::to_vec_pretty(document).expect("the document has string keys only");
        text.push(b'\n');
        records::replace(&path, &text).map_err(FileError::on("write", &path))?;
        self.finish();
        Ok(())
    }

    /// Says that the run has its document.
    pub fn finish(&self) {
        // Beside the document it says nothing.
        drop(fs::remove_file(self.path.join(UNFINISHED_MARKER)));
    }
}

/// Reads the result document of a run folder, or of the file itself. The document may be untrusted: it is
/// read by [`mod@foreign`], every file that it names must lie in its folder, and one of an older version is
/// converted.
///
/// # Errors
/// [`ArtifactsError`].
pub fn read_document(path: &Path) -> Result<RunDocument, ArtifactsError> {
    let path = if path.is_dir() { path.join(RUN_JSON) } else { path.to_owned() };
    let document: RunDocument = foreign(&path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    match document.artifacts.values().find(|name| !is_inside(folder, name)) {
        None => Ok(RunDocument { schema: SCHEMA, ..document }),
        Some(name) => Err(ArtifactsError::OutsideFolder { name: name.clone(), path }),
    }
}

/// Reads a document that may be untrusted.
///
/// # Errors
/// [`ArtifactsError::File`], [`ArtifactsError::Refused`].
pub fn foreign<T: Foreign>(path: &Path) -> Result<T, ArtifactsError> {
    let bytes = bounded::read(path, foreign::SIZE_MOST as u64).map_err(FileError::on("read", path))?;
    foreign::read(&bytes).map_err(|source| ArtifactsError::Refused { path: path.into(), source })
}

/// Whether `name` is a path inside of `folder`, without `..` and symbolic links.
pub(crate) fn is_inside(folder: &Path, name: &str) -> bool {
    let mut path = folder.to_owned();
    !name.is_empty()
        && Path::new(name).components().all(|part| {
            path.push(part);
            matches!(part, Component::Normal(_)) && !path.is_symlink()
        })
}

/// Unpacks an untrusted archive into a new folder: files and folders only, none outside of it. Their modes
/// are set here; the archive's are ignored but for the owner's execute bit.
///
/// # Errors
/// The errors of reading and writing; `InvalidData` for anything else in the archive.
pub fn unpack(archive: impl Read, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // The limit covers padding and sparse files, too: an archive of holes would fill the disk.
    let mut archive = tar::Archive::new(archive.take(bounded::UNPACKED_MOST));
    for (index, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if index >= FILES_MOST {
            return Err(invalid(format!("it holds more than {FILES_MOST} files")));
        }
        let kind = entry.header().entry_type();
        let path = entry.path()?.into_owned();
        if path.components().count() > FOLDERS_MOST {
            return Err(invalid(format!("it holds a file more than {FOLDERS_MOST} folders deep")));
        }
        let plain = path.to_str().is_some_and(|path| !path.contains(is_hidden))
            && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain || !(kind.is_file() || kind.is_dir()) || !entry.unpack_in(into)? {
            let name = printable(&entry.path_bytes());
            return Err(invalid(format!("`{name}` is neither a file nor a folder below its own")));
        }
        let mode = if kind.is_dir() || entry.header().mode()? & 0o100 != 0 { 0o755 } else { 0o644 };
        fs::set_permissions(into.join(&path), fs::Permissions::from_mode(mode))?;
    }
    // What compressed it ends with a checksum, behind the end of the archive.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Whether unpacking an archive failed because of this host, and not of the archive.
pub(crate) fn is_of_this_host(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
    )
}

/// The time at the start of a run folder's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunTime(String);

impl std::fmt::Display for RunTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl RunTime {
    /// The time at this moment.
    pub fn now() -> Self {
        Self(humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], ""))
    }
}

/// The part of a run folder's name after its time.
fn behind_time(scenario: &str, kernel: &str) -> String {
    format!("-{}-{}", scenario.replace('/', "."), kernel.replace('/', "."))
}

/// Whether a folder's name begins as [`RunFolder::create`] lets it begin: `20261125T020000Z-`.
pub(crate) fn is_run_name(name: &str) -> bool {
    is_file_name(name)
        && name
            .split_at_checked(TIME_LENGTH)
            .is_some_and(|(time, rest)| is_time(time) && rest.starts_with('-'))
}

fn is_time(time: &str) -> bool {
    time.bytes().enumerate().all(|(at, byte)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Sample;
    use kshot_stack::document::Reason;

    fn document(change: impl FnOnce(&mut serde_json::Value)) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUN_JSON);
        let mut value = serde_json::to_value(RunDocument::sample()).unwrap();
        (value["schema"], value["scenario"]) = (1.into(), "s".into());
        value["why"] = serde_json::json!(["one\ntwo"]);
        value["artifacts"] = serde_json::json!({ "a": "steps/a.txt" });
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_document_from_elsewhere_steers_no_terminal() {
        let (_folder, path) = document(|value| value["qemu"] = "7\x1b[2J.\x071".into());
        let read = read_document(&path).unwrap();
        assert_eq!(read.qemu, r"7.\u{7}1");
        assert_eq!((read.schema, read.reasons), (SCHEMA, vec![Reason::Text { text: "one\ntwo".into() }]));
    }

    #[test]
    fn a_document_names_no_file_outside_of_its_folder() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        for name in ["/etc/passwd", "../x", "steps/../../x", "", "link", "link/x"] {
            let (folder, path) = document(|value| value["artifacts"]["a"] = name.into());
            std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
            let error = read_document(&path).unwrap_err();
            let refused =
                matches!(&error, ArtifactsError::OutsideFolder { .. } | ArtifactsError::Refused { .. });
            assert!(refused, "{name}: {error}");
            assert_eq!(error.blame(), Blame::Usage);
        }
        let (_folder, path) = document(|_| ());
        read_document(&path).unwrap();
    }

    #[test]
    fn an_archive_from_elsewhere_holds_files_and_folders_alone() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o4777);
        archive.append_data(&mut header, "a/file", &b"text"[..]).unwrap();
        let whole = archive.get_ref().clone();
        let into = tempfile::tempdir().unwrap();
        unpack(&whole[..], into.path()).unwrap();
        assert_eq!(fs::read(into.path().join("a/file")).unwrap(), b"text");
        let mode = fs::metadata(into.path().join("a/file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "setuid and the right of others to write are not taken over");

        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "a/link", "/etc/passwd").unwrap();
        let error = unpack(&archive.into_inner().unwrap()[..], into.path()).unwrap_err();
        assert!(error.to_string().starts_with("`a/link` is neither"), "{error}");
        assert!(!into.path().join("a/link").is_symlink());
    }

    #[test]
    fn an_archive_with_folders_without_end_is_refused() {
        let archive = |folders: usize| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            archive.append_data(&mut header, "a/".repeat(folders) + "file", &b""[..]).unwrap();
            archive.into_inner().unwrap()
        };
        let into = tempfile::tempdir().unwrap();
        unpack(&archive(FOLDERS_MOST - 1)[..], into.path()).unwrap();
        let error = unpack(&archive(1000)[..], into.path()).unwrap_err();
        assert!(error.to_string().contains("more than 32 folders deep"), "{error}");
        assert!(!is_of_this_host(error.kind()));
    }
}

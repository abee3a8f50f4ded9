//! The run folder: raw bytes first, `run.json` last.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use kshot_stack::document::{Document, SCHEMA, Word};
use kshot_stack::fault::{Blame, Fault};
use kshot_stack::text::printable;

/// The name of the result document in a run folder.
pub const RUN_JSON: &str = "run.json";
/// A run folder that holds this file is never pruned.
const KEEP: &str = "keep";
/// How many folders of matching runs stay before the oldest go.
const MATCHES_KEPT: usize = 30;

/// A folder that holds everything one run left behind.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// Why a run folder cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A document names a file that is not of its folder.
    #[error("{} names an artifact `{}`, which is none of its folder's files", path.display(), name.escape_debug())]
    Outside {
        /// The document.
        path: PathBuf,
        /// What it names.
        name: String,
    },
    /// A run.json is not of our form.
    #[error("{} is not a result document", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
}

impl Fault for ArtifactsError {
    fn blame(&self) -> Blame {
        match self {
            // Somebody named a folder that is none of a run.
            Self::Io { path, source, .. }
                if source.kind() == io::ErrorKind::NotFound && path.ends_with(RUN_JSON) =>
            {
                Blame::Usage
            }
            Self::Io { .. } => Blame::Host,
            Self::Outside { .. } | Self::Json { .. } => Blame::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another folder with --out".into())
            }
            _ => None,
        }
    }
}

impl RunFolder {
    /// Makes a new folder below `base`, named for the time, the scenario and the kernel.
    ///
    /// # Errors
    /// [`ArtifactsError::Io`].
    pub fn create(base: &Path, scenario: &str, kernel: &str) -> Result<Self, ArtifactsError> {
        fs::create_dir_all(base).map_err(io_error("create", base))?;
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
        let name = format!("{now}-{}-{}", scenario.replace('/', "."), kernel.replace('/', "."));
        for attempt in 1_u32.. {
            let path = base.join(if attempt == 1 { name.clone() } else { format!("{name}-{attempt}") });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ArtifactsError::Io { action: "create", path, source }),
            }
        }
        unreachable!("some number is free")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one file, `name` relative to the folder, making folders between.
    ///
    /// # Errors
    /// [`ArtifactsError::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactsError> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error("create", parent))?;
        }
        fs::write(&path, bytes).map_err(io_error("write", &path))
    }

    /// Every file in the folder: name to relative path.
    ///
    /// # Errors
    /// [`ArtifactsError::Io`].
    pub fn index(&self) -> Result<BTreeMap<String, String>, ArtifactsError> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(io_error("list", &folder))? {
                let path = entry.map_err(io_error("list", &folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(relative) = path.strip_prefix(&self.path) {
                    let relative = relative.to_string_lossy().into_owned();
                    found.insert(relative.clone(), relative);
                }
            }
        }
        Ok(found)
    }

    /// Writes the result document, in one rename: a folder without it is a run that did not end.
    ///
    /// # Errors
    /// [`ArtifactsError::Io`].
    pub fn finish(&self, document: &Document, keep: bool) -> Result<(), ArtifactsError> {
        if keep {
            self.write(KEEP, b"")?;
        }
        let path = self.path.join(RUN_JSON);
        let text = serde_json::to_vec_pretty(document)
            .map_err(|source| ArtifactsError::Json { path: path.clone(), source })?;
        // Others may read it: tempfile alone would keep them out.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.path)
            .map_err(io_error("create a file in", &self.path))?;
        file.write_all(&text).and_then(|()| file.write_all(b"\n")).map_err(io_error("write", &path))?;
        file.persist(&path).map_err(|error| ArtifactsError::Io {
            action: "write",
            path,
            source: error.error,
        })?;
        Ok(())
    }
}

/// Reads the result document of a run folder, or of the file itself. It may be from elsewhere: control characters in it
/// are escaped, all that it names lies in its folder, and one of an older version is brought up to date.
///
/// # Errors
/// [`ArtifactsError`].
pub fn read(path: &Path) -> Result<Document, ArtifactsError> {
    let path = if path.is_dir() { path.join(RUN_JSON) } else { path.to_owned() };
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    let document = serde_json::from_slice(&bytes).and_then(|mut value| {
        escape(&mut value);
        serde_json::from_value(value)
    });
    let document: Document =
        document.map_err(|source| ArtifactsError::Json { path: path.clone(), source })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    match document.artifacts.values().find(|name| !is_inside(folder, name)) {
        None => Ok(Document { schema: SCHEMA, ..document }),
        Some(name) => Err(ArtifactsError::Outside { name: name.clone(), path }),
    }
}

/// Escapes what could steer a terminal.
fn escape(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text)
            if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') =>
        {
            *text = text.split('\n').map(|line| printable(line.as_bytes())).collect::<Vec<_>>().join("\n");
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(escape),
        serde_json::Value::Object(values) => values.values_mut().for_each(escape),
        _ => {}
    }
}

/// Whether a name leads to something in the folder, and not out of it again.
pub(crate) fn is_inside(folder: &Path, name: &str) -> bool {
    let mut path = folder.to_owned();
    !name.is_empty()
        && Path::new(name).components().all(|part| {
            path.push(part);
            matches!(part, Component::Normal(_)) && !path.is_symlink()
        })
}

/// Unpacks an archive from elsewhere into a new folder: files and folders, and nothing that lies outside of it.
///
/// # Errors
/// What reading or writing fails with; `InvalidData` for anything else in the archive.
pub fn unpack(archive: impl Read, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir()) || !entry.unpack_in(into)? {
            let name = printable(&entry.path_bytes());
            let why = format!("`{name}` is neither a file nor a folder below its own");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
    Ok(())
}

/// Removes the oldest folders of matching runs that nobody asked to keep. Whatever did not match stays.
///
/// # Errors
/// [`ArtifactsError::Io`].
pub fn prune(base: &Path) -> Result<(), ArtifactsError> {
    let mut matches = Vec::new();
    for entry in fs::read_dir(base).map_err(io_error("list", base))? {
        let path = entry.map_err(io_error("list", base))?.path();
        let matched = read(&path).is_ok_and(|document| document.verdict == Word::Match);
        if matched && !path.join(KEEP).exists() {
            matches.push(path);
        }
    }
    // The names begin with the time.
    matches.sort();
    let surplus = matches.len().saturating_sub(MATCHES_KEPT);
    for path in &matches[..surplus] {
        // Another kshot may be pruning too.
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArtifactsError {
    let path = path.to_owned();
    move |source| ArtifactsError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_stack::document::Reason;

    fn document(change: impl FnOnce(&mut serde_json::Value)) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUN_JSON);
        let mut value = serde_json::json!({
            "schema": 1, "scenario": "s", "qemu": "7.2", "verdict": "match", "why": ["one\ntwo"],
            "kernel": { "name": "k", "release": "6.1", "arch": "mips64", "image_sha256": "0" },
            "start": "cold", "timings_ms": { "boot": 1, "ssh": 1, "steps": 1, "collect": 1, "total": 4 },
            "probes": [], "repeats": [], "console": [], "artifacts": { "a": "steps/a.txt" }
        });
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_document_from_elsewhere_steers_no_terminal() {
        let (_folder, path) = document(|value| value["kernel"]["release"] = "6\x1b[2J.\x071".into());
        let read = read(&path).unwrap();
        assert_eq!(read.kernel.release, r"6.\u{7}1");
        assert_eq!((read.schema, read.why), (SCHEMA, vec![Reason::Text { text: "one\ntwo".into() }]));
    }

    #[test]
    fn a_document_names_no_file_outside_of_its_folder() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        for name in ["/etc/passwd", "../x", "steps/../../x", "", "link", "link/x"] {
            let (folder, path) = document(|value| value["artifacts"]["a"] = name.into());
            std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(&error, ArtifactsError::Outside { .. }), "{name}: {error}");
            assert_eq!(error.blame(), Blame::Usage);
        }
        let (_folder, path) = document(|_| ());
        read(&path).unwrap();
    }

    #[test]
    fn an_archive_from_elsewhere_holds_files_and_folders_alone() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        archive.append_data(&mut header, "a/file", &b"text"[..]).unwrap();
        let whole = archive.get_ref().clone();
        let into = tempfile::tempdir().unwrap();
        unpack(&whole[..], into.path()).unwrap();
        assert_eq!(fs::read(into.path().join("a/file")).unwrap(), b"text");

        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "a/link", "/etc/passwd").unwrap();
        let error = unpack(&archive.into_inner().unwrap()[..], into.path()).unwrap_err();
        assert!(error.to_string().starts_with("`a/link` is neither"), "{error}");
        assert!(!into.path().join("a/link").is_symlink());
    }
}

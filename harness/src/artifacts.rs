//! The run folder: raw bytes first, `run.json` last.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::document::Document;
use crate::fault::{Blame, Fault};

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
            Self::Io { .. } => Blame::Infra,
            Self::Json { .. } => Blame::Usage,
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

/// Reads the result document of a run folder, or of the file itself.
///
/// # Errors
/// [`ArtifactsError`].
pub fn read(path: &Path) -> Result<Document, ArtifactsError> {
    let path = if path.is_dir() { path.join(RUN_JSON) } else { path.to_owned() };
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|source| ArtifactsError::Json { path, source })
}

/// Removes the oldest folders of matching runs that nobody asked to keep. Whatever did not match stays.
///
/// # Errors
/// [`ArtifactsError::Io`].
pub fn prune(base: &Path) -> Result<(), ArtifactsError> {
    let mut matches = Vec::new();
    for entry in fs::read_dir(base).map_err(io_error("list", base))? {
        let path = entry.map_err(io_error("list", base))?.path();
        let matched = read(&path).is_ok_and(|document| document.verdict == crate::document::Word::Match);
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

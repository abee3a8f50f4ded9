//! The result folder of a night: `results.json`, the reports, and `runs/` with each run's artifacts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::NightlyError;
use crate::artifacts;
use crate::workspace::Workspace;
use kshot_guest::host::FileError;
use kshot_guest::records;
use kshot_stack::blame::error_chain;
use kshot_stack::document::RunDocument;
use kshot_stack::night::results::Night;

/// The name of the results in the folder.
pub(super) const RESULTS_JSON: &str = "results.json";
/// The subfolder of the run folders.
const RUNS: &str = "runs";
/// The lock file, held by the kshot that works on the night.
const LOCK: &str = ".lock";

/// A result folder that is locked while this value lives.
#[derive(Debug)]
pub struct ResultFolder {
    path: PathBuf,
    _lock: File,
}

impl ResultFolder {
    /// Opens the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`NightlyError::Busy`] where another kshot works on it, [`NightlyError::File`].
    pub fn open(path: &Path) -> Result<Self, NightlyError> {
        let path = std::path::absolute(path).map_err(FileError::on("find", path))?;
        fs::create_dir_all(path.join(RUNS)).map_err(FileError::on("create", &path))?;
        let lock = path.join(LOCK);
        let file = File::create(&lock).map_err(FileError::on("create", &lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(fs::TryLockError::WouldBlock) => Err(NightlyError::Busy { path }),
            Err(fs::TryLockError::Error(source)) => Err(FileError::on("lock", &lock)(source).into()),
        }
    }

    /// The path of the result folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The night that was begun in this folder, if there is one.
    ///
    /// # Errors
    /// [`NightlyError::Artifacts`], [`NightlyError::File`].
    pub fn night(&self) -> Result<Option<Night>, NightlyError> {
        let path = self.path.join(RESULTS_JSON);
        if path.exists() { Ok(Some(artifacts::foreign(&path)?)) } else { Ok(None) }
    }

    /// Writes the results with one rename.
    ///
    /// # Errors
    /// [`NightlyError::File`].
    pub fn write(&self, night: &Night) -> Result<(), NightlyError> {
        let mut text = serde_json::to_vec_pretty(night).expect("a night has string keys only");
        text.push(b'\n');
        self.replace(RESULTS_JSON, &text)
    }

    /// Writes files of the folder by name, each in one rename.
    ///
    /// # Errors
    /// [`NightlyError::File`].
    pub fn write_files(&self, files: &[(&str, String)]) -> Result<(), NightlyError> {
        files.iter().try_for_each(|(name, text)| self.replace(name, text.as_bytes()))
    }

    /// The documents of the runs that count, by [`Pair::anchor`], and why some are missing: a run folder that
    /// is gone is no reason to lose the others.
    ///
    /// [`Pair::anchor`]: kshot_stack::night::results::Pair::anchor
    pub fn documents(&self, night: &Night) -> (HashMap<String, RunDocument>, Vec<String>) {
        let (mut documents, mut lost) = (HashMap::new(), Vec::new());
        for (pair, run) in night.pairs.iter().filter_map(|pair| Some((pair, pair.run()?))) {
            match artifacts::read_document(&self.path.join(&run.folder)) {
                Ok(document) => drop(documents.insert(pair.anchor(), document)),
                Err(error) => lost.push(format!("{}: not compared: {}", pair.anchor(), error_chain(&error))),
            }
        }
        (documents, lost)
    }

    /// The workspace with run folders inside of this result folder.
    pub(super) fn workspace(&self, workspace: &Workspace) -> Workspace {
        Workspace { runs_folder: self.runs(), ..workspace.clone() }
    }

    /// The path of the run folders.
    pub(super) fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// A path below the folder, in the form that the results use.
    pub(super) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.path).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), NightlyError> {
        let path = self.path.join(name);
        Ok(records::replace(&path, bytes).map_err(FileError::on("write", &path))?)
    }
}

#[cfg(test)]
mod tests {
    use kshot_stack::blame::{Blame, Blamed};

    use super::*;

    #[test]
    fn two_do_not_work_on_one_night() {
        let folder = tempfile::tempdir().unwrap();
        let first = ResultFolder::open(folder.path()).unwrap();
        assert!(matches!(ResultFolder::open(folder.path()), Err(NightlyError::Busy { .. })));
        drop(first);
        assert!(ResultFolder::open(folder.path()).unwrap().night().unwrap().is_none());
    }

    #[test]
    fn results_that_are_none_are_a_fault_and_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RESULTS_JSON), "{}").unwrap();
        let error = ResultFolder::open(folder.path()).unwrap().night().unwrap_err();
        assert!(
            error_chain(&error).ends_with("not the results of a night: it has no number `schema`"),
            "{error}"
        );
        assert_eq!(error.blame(), Blame::Usage);
        assert_eq!(fs::read_to_string(folder.path().join(RESULTS_JSON)).unwrap(), "{}");
    }
}

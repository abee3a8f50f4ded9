//! The result folder of a night: `results.json`, the reports, and `runs/` with each run's artifacts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::NightlyError;
use crate::artifacts;
use crate::workspace::Workspace;
use kshot_guest::host::FileError;
use kshot_guest::{bounded, records};
use kshot_stack::blame::error_chain;
use kshot_stack::document::RunDocument;
use kshot_stack::foreign;
use kshot_stack::night::results::Night;

/// The name of the results in the folder.
pub(super) const RESULTS_JSON: &str = "results.json";
/// The subfolder of the run folders.
const RUNS: &str = "runs";
/// The lock file, held by the kshot that works on the night.
const LOCK: &str = ".lock";

/// What stands between a pair and the reason why its run's document is missing, in a note.
pub(super) const NOT_COMPARED: &str = ": not compared: ";

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

    /// The night that was begun in this folder, if there is one. Results of kshot's that are damaged are set
    /// aside; then there is a note instead, because the night begins anew.
    ///
    /// # Errors
    /// [`NightlyError::Artifacts`], [`NightlyError::File`].
    pub fn night(&self) -> Result<(Option<Night>, Option<String>), NightlyError> {
        let path = self.path.join(RESULTS_JSON);
        if !path.exists() {
            return Ok((None, None));
        }
        let error = match artifacts::foreign(&path) {
            Ok(night) => return Ok((Some(night), None)),
            Err(error) => error,
        };
        let is_damaged = bounded::read(&path, foreign::SIZE_MOST as u64).is_ok_and(|text| is_damaged(&text));
        if !is_damaged {
            return Err(error.into());
        }
        let names = (1_u32..).map(|number| match number {
            1 => format!("{RESULTS_JSON}.damaged"),
            _ => format!("{RESULTS_JSON}.damaged-{number}"),
        });
        let name = names.into_iter().find(|name| !self.path.join(name).exists()).unwrap_or_default();
        fs::rename(&path, self.path.join(&name)).map_err(FileError::on("set aside", &path))?;
        let why = error_chain(&error);
        Ok((None, Some(format!("begun anew: {why}; it was damaged, and is now {name}"))))
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
                Err(error) => lost.push(format!("{}{NOT_COMPARED}{}", pair.anchor(), error_chain(&error))),
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

/// Whether these are results of kshot's that were cut or zeroed: they begin as kshot begins them, and are no
/// JSON. Any other file is somebody's.
fn is_damaged(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let begun = &text[..end];
    let words = begun.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    // As `write` does: `{ "schema": 2, "night": "20261125T020000Z-4711",`.
    let begins_as_ours = words.zip(["{", "\"schema\":", "", "\"night\":"]).all(|(word, ours)| {
        let is_number = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_digit() || *byte == b',');
        if ours.is_empty() { is_number(word) } else { ours.as_bytes().starts_with(word) }
    });
    begins_as_ours && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err()
}

#[cfg(test)]
mod tests {
    use kshot_stack::blame::{Blame, Blamed};

    use super::*;
    use crate::samples::Sample;

    #[test]
    fn two_do_not_work_on_one_night() {
        let folder = tempfile::tempdir().unwrap();
        let first = ResultFolder::open(folder.path()).unwrap();
        assert!(matches!(ResultFolder::open(folder.path()), Err(NightlyError::Busy { .. })));
        drop(first);
        assert!(matches!(ResultFolder::open(folder.path()).unwrap().night(), Ok((None, None))));
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

    #[test]
    fn results_that_are_damaged_are_set_aside_and_the_night_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let night = ResultFolder::open(folder.path()).unwrap();
        night.write(&Night::sample()).unwrap();
        let path = folder.path().join(RESULTS_JSON);
        let whole = fs::read(&path).unwrap();
        assert!(matches!(night.night(), Ok((Some(_), None))));
        let zeroed = |length: usize| [&whole[..length], &vec![0; whole.len() - length]].concat();
        let damaged = (0..whole.len() - 2).step_by(7).map(|length| whole[..length].to_vec());
        let damaged: Vec<_> = damaged.chain([0, 20, 200].map(zeroed)).collect();
        for (number, text) in damaged.iter().enumerate() {
            fs::write(&path, text).unwrap();
            let (found, note) = night.night().unwrap();
            let note = note.unwrap();
            assert!(
                found.is_none() && note.contains("it was damaged, and is now results.json.damaged"),
                "{note}"
            );
            let number = if number == 0 { String::new() } else { format!("-{}", number + 1) };
            let aside = folder.path().join(format!("{RESULTS_JSON}.damaged{number}"));
            assert_eq!(&fs::read(aside).unwrap(), text);
            assert!(matches!(night.night(), Ok((None, None))));
        }
        for others in
            ["[", "no JSON", "{\"mine\": 1", "{\n  \"schema\": 2,\n  \"mine\": [", "{ \"schema\": 99 }"]
        {
            fs::write(&path, others).unwrap();
            assert_eq!(night.night().unwrap_err().blame(), Blame::Usage, "{others}");
            assert_eq!(fs::read_to_string(&path).unwrap(), others);
        }
    }
}

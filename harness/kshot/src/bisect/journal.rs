//! The state of a hunt on disk: what it was asked, and one line for each thing that happened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Event, Outcome, Plan};
use super::question::Question;
use kshot_guest::records::{self, Damage};
use kshot_stack::fault::{Blame, Fault};

const HEADER: &str = "bisect.json";
const RECORDS: &str = "events.jsonl";
const RESULT: &str = "result.json";

/// What a hunt was asked: all that is needed to go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The version of this form.
    pub(crate) schema: u32,
    /// The command line, for the report.
    pub(crate) command: String,
    /// The scenario.
    pub(crate) scenario: String,
    /// The probes that are kept; all where there are none.
    pub(crate) only: Vec<String>,
    /// What is judged.
    pub(crate) question: Question,
    /// Where the candidates come from.
    pub(crate) range: Range,
    /// The paths that the change is looked for in; everywhere where there are none.
    pub(crate) paths: Vec<String>,
    /// The kernel of the catalogue whose configuration is taken.
    pub(crate) like: String,
    /// Fragments after that one's.
    pub(crate) config: Vec<String>,
    /// The symbols that must survive.
    pub(crate) require: Vec<String>,
    /// What people call the two sides, older and newer.
    pub(crate) terms: (String, String),
    /// The search.
    pub(crate) plan: Plan,
    /// The nodes: versions, or commit ids.
    pub(crate) names: Vec<String>,
    /// What each node is about: nothing, or a commit's title.
    pub(crate) titles: Vec<String>,
    /// What the user should know of how the candidates came about.
    pub(crate) notes: Vec<String>,
}

/// Where candidates come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Range {
    /// Versions that the archive holds, as `--versions` says.
    Versions(String),
    /// Commits of this repository.
    Git(PathBuf),
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The subject's name.
    pub(crate) name: String,
    /// What happened.
    pub(crate) event: Option<Event>,
    /// How long it took.
    pub(crate) milliseconds: u64,
    /// The kernel's release, of a build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) release: String,
    /// What is worth knowing of a build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// The run folder's name, of a run that booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
}

/// A hunt's folder.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    header: Header,
    records: Vec<Record>,
    damage: Option<Damage>,
    _lock: File,
}

/// Why the state cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
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
    /// A file is not of our form.
    #[error("{} is not the state of a bisection", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// Another process goes on with it.
    #[error("another kshot works in {}", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// There is nothing to go on with.
    #[error("no unfinished bisection in {}", folder.display())]
    Nothing {
        /// Where they lie.
        folder: PathBuf,
    },
}

impl Fault for JournalError {
    fn blame(&self) -> Blame {
        match self {
            Self::Io { .. } => Blame::Host,
            Self::Json { .. } | Self::Busy { .. } | Self::Nothing { .. } => Blame::Usage,
        }
    }
}

impl Journal {
    /// A new hunt in the new folder `folder`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn create(folder: &Path, header: Header) -> Result<Self, JournalError> {
        fs::create_dir_all(folder).map_err(fail("create", folder))?;
        let lock = lock(folder)?;
        write(
            &folder.join(HEADER),
            &serde_json::to_vec_pretty(&header).expect("a header has string keys only"),
        )?;
        Ok(Self { folder: folder.into(), header, records: Vec::new(), damage: None, _lock: lock })
    }

    /// The hunt in `folder`, as far as it came. A line that a kill cut short never happened. What the host did
    /// then is no reason to stop now, so its faults are left out.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, JournalError> {
        let lock = lock(folder)?;
        let path = folder.join(HEADER);
        let text = fs::read(&path).map_err(fail("read", &path))?;
        let header = serde_json::from_slice(&text).map_err(|source| JournalError::Json { path, source })?;
        let path = folder.join(RECORDS);
        let lines = records::read(&path, is_whole).map_err(fail("read", &path))?;
        let mut records = Vec::new();
        for line in &lines.records {
            let record: Record = serde_json::from_str(line)
                .map_err(|source| JournalError::Json { path: path.clone(), source })?;
            if !matches!(record.event, Some(Event::HostFault { .. })) {
                records.push(record);
            }
        }
        Ok(Self { folder: folder.into(), header, records, damage: lines.damage, _lock: lock })
    }

    /// The newest hunt below `base` that has no result.
    ///
    /// # Errors
    /// [`JournalError::Nothing`].
    pub(crate) fn unfinished(base: &Path) -> Result<PathBuf, JournalError> {
        let folders = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        let open = folders.filter(|path| path.join(HEADER).is_file() && !path.join(RESULT).is_file());
        open.max().ok_or_else(|| JournalError::Nothing { folder: base.into() })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was asked.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What happened so far.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// What was left out at the end, when it was opened.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Writes down what happened. When this returns it is on disk.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn append(&mut self, record: Record) -> Result<(), JournalError> {
        let line = serde_json::to_string(&record).expect("a record has string keys only");
        let path = self.folder.join(RECORDS);
        records::append(&path, &line, is_whole).map_err(fail("write", &path))?;
        self.records.push(record);
        Ok(())
    }

    /// Writes the result, last of all: a hunt without it is not done.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn finish(&self, outcome: &Outcome, reports: &[(&str, String)]) -> Result<(), JournalError> {
        for (name, text) in reports {
            write(&self.folder.join(name), text.as_bytes())?;
        }
        write(
            &self.folder.join(RESULT),
            &serde_json::to_vec_pretty(outcome).expect("an outcome has string keys only"),
        )
    }
}

fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(fail("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(JournalError::Busy { folder: folder.into() }),
        Err(fs::TryLockError::Error(source)) => Err(fail("lock", &path)(source)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    records::replace(path, bytes).map_err(fail("write", path))
}

/// Whether a line of a time without checksums is whole: JSON that is cut is no JSON.
fn is_whole(line: &str) -> bool {
    serde_json::from_str::<Record>(line).is_ok()
}

fn fail(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path: path.clone(), source }
}

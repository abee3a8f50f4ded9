//! The files of a bisection: its request, and a log with one line for each event.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{BisectionResult, SearchEvent, SearchPlan};
use super::question::Question;
use kshot_guest::host::FileError;
use kshot_guest::records::{self, Damage};
use kshot_stack::blame::{Blame, Blamed};

/// The version of the form of a bisection's files.
pub(crate) const SCHEMA: u32 = 1;
const HEADER: &str = "bisect.json";
const RECORDS: &str = "events.jsonl";
const RESULT: &str = "result.json";

/// The request of a bisection: everything that is needed to resume it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BisectRequest {
    /// The version of the file's form.
    pub(crate) schema: u32,
    /// The command line, for the report.
    pub(crate) command: String,
    /// The scenario's id.
    pub(crate) scenario: String,
    /// The probes that are used; all if the list is empty.
    #[serde(rename = "only")]
    pub(crate) probes: Vec<String>,
    /// The question that each run answers.
    pub(crate) question: Question,
    /// The source of the candidates.
    pub(crate) range: CandidateSource,
    /// The paths that commits must touch; all commits if the list is empty.
    pub(crate) paths: Vec<String>,
    /// The kernel of the catalogue whose configuration is used.
    #[serde(rename = "like")]
    pub(crate) configuration_of: String,
    /// Further configuration fragments.
    pub(crate) config: Vec<String>,
    /// The symbols that must survive.
    pub(crate) require: Vec<String>,
    /// The names of the older and the newer side in reports.
    pub(crate) terms: (String, String),
    /// The search plan.
    pub(crate) plan: SearchPlan,
    /// The names of the nodes: versions, or commit ids.
    pub(crate) names: Vec<String>,
    /// The titles of the nodes: a commit's subject, or nothing.
    pub(crate) titles: Vec<String>,
    /// Notes for the user on how the candidates were chosen.
    pub(crate) notes: Vec<String>,
}

/// The source of the candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CandidateSource {
    /// Versions in the archive, as given with `--versions`.
    Versions(String),
    /// Commits of this repository.
    Git(PathBuf),
}

/// One entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    /// The candidate's name.
    pub(crate) name: String,
    /// The event.
    pub(crate) event: Option<SearchEvent>,
    /// The duration in milliseconds.
    pub(crate) milliseconds: u64,
    /// The kernel release, after a build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) release: String,
    /// Notes on the build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// The run folder's name, after a run that booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "folder")]
    pub(crate) run_folder: Option<String>,
}

/// The folder and the log of a bisection.
#[derive(Debug)]
pub(crate) struct BisectLog {
    folder: PathBuf,
    header: BisectRequest,
    entries: Vec<LogEntry>,
    damage: Option<Damage>,
    _lock: File,
}

/// Why a bisection's log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BisectLogError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not have the expected form.
    #[error("{} is not the log of a bisection", path.display())]
    Json {
        /// The path of the file.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
    /// Another version of kshot began the bisection.
    #[error("{} has schema {schema}, and this kshot reads {SCHEMA}", path.display())]
    OtherSchema {
        /// The path of the file.
        path: PathBuf,
        /// The version of its form.
        schema: u32,
    },
    /// Another process works on the bisection.
    #[error("another kshot is working in {}", folder.display())]
    Busy {
        /// The path of the bisection's folder.
        folder: PathBuf,
    },
    /// The folder is not that of a bisection.
    #[error("there is no bisection in {}", folder.display())]
    NoBisection {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no unfinished bisection.
    #[error("no unfinished bisection in {}", folder.display())]
    NoneUnfinished {
        /// The folder that was searched for bisections.
        folder: PathBuf,
    },
}

impl Blamed for BisectLogError {
    fn blame(&self) -> Blame {
        match self {
            Self::File(_) => Blame::Host,
            Self::Json { .. }
            | Self::OtherSchema { .. }
            | Self::Busy { .. }
            | Self::NoBisection { .. }
            | Self::NoneUnfinished { .. } => Blame::Usage,
        }
    }
}

impl BisectLog {
    /// Creates the bisection in the new folder `folder`.
    ///
    /// # Errors
    /// [`BisectLogError`].
    pub(crate) fn create(folder: &Path, header: BisectRequest) -> Result<Self, BisectLogError> {
        fs::create_dir_all(folder).map_err(FileError::on("create", folder))?;
        let lock = lock(folder)?;
        write(
            &folder.join(HEADER),
            &serde_json::to_vec_pretty(&header).expect("a header has string keys only"),
        )?;
        Ok(Self { folder: folder.into(), header, entries: Vec::new(), damage: None, _lock: lock })
    }

    /// Opens the bisection in `folder`. An incomplete last line, as a kill leaves it, is dropped. Host errors
    /// are left out, because the host may work now.
    ///
    /// # Errors
    /// [`BisectLogError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, BisectLogError> {
        let path = folder.join(HEADER);
        if !path.is_file() {
            return Err(BisectLogError::NoBisection { folder: folder.into() });
        }
        let lock = lock(folder)?;
        let text = fs::read(&path).map_err(FileError::on("read", &path))?;
        let header: BisectRequest = serde_json::from_slice(&text)
            .map_err(|source| BisectLogError::Json { path: path.clone(), source })?;
        if header.schema != SCHEMA {
            return Err(BisectLogError::OtherSchema { path, schema: header.schema });
        }
        let path = folder.join(RECORDS);
        let lines = records::read(&path, is_whole).map_err(FileError::on("read", &path))?;
        let mut records = Vec::new();
        for line in &lines.records {
            let record: LogEntry = serde_json::from_str(line)
                .map_err(|source| BisectLogError::Json { path: path.clone(), source })?;
            if !matches!(record.event, Some(SearchEvent::HostError { .. })) {
                records.push(record);
            }
        }
        Ok(Self { folder: folder.into(), header, entries: records, damage: lines.damage, _lock: lock })
    }

    /// The newest bisection below `base` without a result.
    ///
    /// # Errors
    /// [`BisectLogError::NoneUnfinished`].
    pub(crate) fn unfinished(base: &Path) -> Result<PathBuf, BisectLogError> {
        let folders = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        let open = folders.filter(|path| path.join(HEADER).is_file() && !path.join(RESULT).is_file());
        open.max().ok_or_else(|| BisectLogError::NoneUnfinished { folder: base.into() })
    }

    /// The path of the bisection's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The request.
    pub(crate) fn header(&self) -> &BisectRequest {
        &self.header
    }

    /// The log entries so far.
    pub(crate) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// What was left out at the end, when it was opened.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Writes down what happened. When this returns it is on disk.
    ///
    /// # Errors
    /// [`BisectLogError::File`].
    pub(crate) fn append(&mut self, record: LogEntry) -> Result<(), BisectLogError> {
        let line = serde_json::to_string(&record).expect("a record has string keys only");
        let path = self.folder.join(RECORDS);
        records::append(&path, &line, is_whole).map_err(FileError::on("write", &path))?;
        self.entries.push(record);
        Ok(())
    }

    /// Writes the result, as the last file: a bisection without it is unfinished.
    ///
    /// # Errors
    /// [`BisectLogError::File`].
    pub(crate) fn finish(
        &self,
        outcome: &BisectionResult,
        reports: &[(&str, String)],
    ) -> Result<(), BisectLogError> {
        for (name, text) in reports {
            write(&self.folder.join(name), text.as_bytes())?;
        }
        write(
            &self.folder.join(RESULT),
            &serde_json::to_vec_pretty(outcome).expect("an outcome has string keys only"),
        )
    }
}

fn lock(folder: &Path) -> Result<File, BisectLogError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(FileError::on("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(BisectLogError::Busy { folder: folder.into() }),
        Err(fs::TryLockError::Error(source)) => Err(FileError::on("lock", &path)(source).into()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BisectLogError> {
    Ok(records::replace(path, bytes).map_err(FileError::on("write", path))?)
}

/// Whether a line from before lines had checksums is complete: truncated JSON does not parse.
fn is_whole(line: &str) -> bool {
    serde_json::from_str::<LogEntry>(line).is_ok()
}

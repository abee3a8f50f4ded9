//! The history of all nights in one SQLite file: every run, with the versions of everything involved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use kshot_guest::host::FileError;
use kshot_stack::blame::{Blame, Blamed, error_chain};
use kshot_stack::document::{KernelInfo, ProbeResult, RunDocument, Start, Timings, Verdict};
use kshot_stack::night::changes::PastResult;
use kshot_stack::night::results::{Attempt, Night, NightKernel, Pair, PairStatus, RunSummary};

/// The version of the tables. It grows when they change; an older file is then upgraded, a newer one refused.
const SCHEMA_VERSION: i64 = 2;

/// A recording is stored once for all runs with equal results, because the same stacks come back night after
/// night. The counts are part of it, so only runs with equal counts share one.
const SCHEMA_SQL: &str = "
CREATE TABLE night (
    night TEXT PRIMARY KEY, started TEXT NOT NULL, engine TEXT NOT NULL, harness TEXT NOT NULL,
    wall_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE recording (sha256 TEXT PRIMARY KEY, probes TEXT NOT NULL) STRICT;
CREATE TABLE attempt (
    night TEXT NOT NULL REFERENCES night ON DELETE CASCADE, scenario TEXT NOT NULL, kernel TEXT NOT NULL,
    number INTEGER NOT NULL, started TEXT NOT NULL, wall_ms INTEGER NOT NULL, host TEXT NOT NULL,
    origin TEXT NOT NULL, inputs TEXT NOT NULL,
    fault TEXT,
    verdict TEXT, why TEXT, folder TEXT, release TEXT, arch TEXT, image_sha256 TEXT, qemu TEXT, start TEXT,
    boot_ms INTEGER, ssh_ms INTEGER, steps_ms INTEGER, collect_ms INTEGER, total_ms INTEGER,
    recording TEXT REFERENCES recording,
    PRIMARY KEY (night, scenario, kernel, number)
) STRICT;
CREATE INDEX of_pair ON attempt (scenario, kernel, night);
";

/// The commit that the kernel was built from, as JSON.
const ADD_GIT: &str = "ALTER TABLE attempt ADD COLUMN git TEXT;";

/// How the note of a night whose history failed begins.
pub(super) const WITHOUT_PAST: &str = "not compared with earlier nights: ";

/// The history of earlier nights.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    path: PathBuf,
}

/// Errors of the history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// SQLite failed.
    #[error("cannot use the history {}", path.display())]
    Store {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        source: rusqlite::Error,
    },
    /// The file's folder cannot be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file was written by a newer kshot.
    #[error("the history {} is of version {found}, this kshot knows {SCHEMA_VERSION}", path.display())]
    Newer {
        /// The path of the file.
        path: PathBuf,
        /// The version of the file's schema.
        found: i64,
    },
}

impl Blamed for HistoryError {
    fn blame(&self) -> Blame {
        match self {
            Self::Store { .. } | Self::File(_) => Blame::Host,
            Self::Newer { .. } => Blame::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("name another file with --history; what is in this one stays".into())
    }
}

/// The note of a night whose history failed: it was not compared with earlier nights, or later nights will
/// not be compared with it.
pub(super) fn without_past(error: &HistoryError) -> String {
    format!("{WITHOUT_PAST}{}", error_chain(error))
}

impl History {
    /// Opens the history, and creates the file if it does not exist.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(FileError::on("create", folder))?;
        }
        let fail = |source| HistoryError::Store { path: path.into(), source };
        let connection = Connection::open(path).map_err(fail)?;
        // Another night may be writing its results down.
        connection.busy_timeout(Duration::from_secs(30)).map_err(fail)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        let mut history = Self { connection, path: path.into() };
        history.migrate()?;
        Ok(history)
    }

    /// Opens the history at `path`. If the host makes that fail, returns an empty history in memory, and the
    /// reason: a night matters more than its comparison.
    ///
    /// # Errors
    /// [`HistoryError::Newer`]; [`HistoryError::Store`] where not even memory serves.
    pub fn open_or_forget(path: &Path) -> Result<(Self, Option<String>), HistoryError> {
        match Self::open(path) {
            Ok(history) => Ok((history, None)),
            Err(error) if error.blame() == Blame::Host => {
                let memory = Connection::open_in_memory();
                let connection =
                    memory.map_err(|source| HistoryError::Store { path: path.into(), source })?;
                let mut history = Self { connection, path: path.into() };
                history.migrate()?;
                Ok((history, Some(without_past(&error))))
            }
            Err(error) => Err(error),
        }
    }

    fn migrate(&mut self) -> Result<(), HistoryError> {
        let path = self.path.clone();
        let fail = |source| HistoryError::Store { path: path.clone(), source };
        // Lock for writing at once: two processes that find no tables must not both create them.
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(fail)?;
        let found: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        let steps = [SCHEMA_SQL, ADD_GIT];
        let done = usize::try_from(found).unwrap_or(usize::MAX);
        let Some(open) = steps.get(done..) else { return Err(HistoryError::Newer { path, found }) };
        open.iter().try_for_each(|step| transaction.execute_batch(step)).map_err(fail)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    /// Writes a night down, in place of what was written of the same night before. `document` gives the
    /// result document of a pair's run.
    ///
    /// # Errors
    /// [`HistoryError::Store`]; then nothing is changed.
    pub fn record<'a>(
        &mut self,
        night: &Night,
        document: impl Fn(&Pair) -> Option<&'a RunDocument>,
    ) -> Result<(), HistoryError> {
        let path = self.path.clone();
        self.try_record(night, document).map_err(|source| HistoryError::Store { path, source })
    }

    fn try_record<'a>(
        &mut self,
        night: &Night,
        document: impl Fn(&Pair) -> Option<&'a RunDocument>,
    ) -> rusqlite::Result<()> {
        let change = self.connection.transaction()?;
        change.execute("DELETE FROM night WHERE night = ?1", [&night.name])?;
        change.execute(
            "INSERT INTO night VALUES (?1, ?2, ?3, ?4, ?5)",
            params![night.name, night.started, night.engine, night.harness, signed(night.wall_ms)],
        )?;
        for pair in &night.pairs {
            let kernel = night.kernels.iter().find(|kernel| kernel.name == pair.kernel);
            let recording = match document(pair) {
                Some(document) => Some(store_recording(&change, &document.probes)?),
                None => None,
            };
            for (number, attempt) in pair.attempts.iter().enumerate() {
                let row =
                    AttemptRow { night, pair, kernel, number, attempt, recording: recording.as_deref() };
                row.insert(&change)?;
            }
        }
        // Delete the recordings that no run refers to any more.
        change.execute(
            "DELETE FROM recording WHERE sha256 NOT IN (SELECT recording FROM attempt WHERE recording IS NOT NULL)",
            [],
        )?;
        change.commit()
    }

    /// The results of a pair in the nights before `night`, the latest first, at most `most`. For each night
    /// this is the run with the verdict, or the last attempt.
    ///
    /// # Errors
    /// [`HistoryError::Store`].
    pub fn past_results(
        &self,
        scenario: &str,
        kernel: &str,
        night: &str,
        most: usize,
    ) -> Result<Vec<PastResult>, HistoryError> {
        let fail = |source| HistoryError::Store { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare(
                "SELECT attempt.*, night.harness, recording.probes FROM attempt
                 JOIN night USING (night) LEFT JOIN recording ON sha256 = recording
                 WHERE scenario = ?1 AND kernel = ?2 AND attempt.night < ?3
                   AND number = (SELECT coalesce(min(number) FILTER (WHERE verdict IS NOT NULL), max(number))
                                 FROM attempt AS other WHERE other.night = attempt.night
                                 AND other.scenario = attempt.scenario AND other.kernel = attempt.kernel)
                 ORDER BY attempt.night DESC LIMIT ?4",
            )
            .map_err(fail)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let found = statement.query_map(params![scenario, kernel, night, most], past).map_err(fail)?;
        found.collect::<Result<_, _>>().map_err(fail)
    }

    /// The kernels that a scenario ever ran on, sorted by name.
    ///
    /// # Errors
    /// [`HistoryError::Store`].
    pub fn kernels(&self, scenario: &str) -> Result<Vec<String>, HistoryError> {
        let fail = |source| HistoryError::Store { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare("SELECT DISTINCT kernel FROM attempt WHERE scenario = ?1 ORDER BY kernel")
            .map_err(fail)?;
        let found = statement.query_map([scenario], |row| row.get(0)).map_err(fail)?;
        found.collect::<Result<_, _>>().map_err(fail)
    }

    /// The expected duration of a pair: the median of its last five runs.
    ///
    /// # Errors
    /// [`HistoryError::Store`].
    pub fn expected(&self, scenario: &str, kernel: &str) -> Result<Option<Duration>, HistoryError> {
        let fail = |source| HistoryError::Store { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare(
                "SELECT wall_ms FROM attempt WHERE scenario = ?1 AND kernel = ?2 AND verdict IS NOT NULL
                 ORDER BY night DESC LIMIT 5",
            )
            .map_err(fail)?;
        let found = statement.query_map([scenario, kernel], |row| row.get::<_, i64>(0)).map_err(fail)?;
        let mut took = found.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        took.sort_unstable();
        Ok(took.get(took.len() / 2).map(|ms| Duration::from_millis(unsigned(*ms))))
    }
}

/// Stores a recording once; returns its SHA-256.
fn store_recording(change: &Connection, probes: &[ProbeResult]) -> rusqlite::Result<String> {
    let text = serde_json::to_string(probes).map_err(to_sql)?;
    let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
    change.execute("INSERT OR IGNORE INTO recording VALUES (?1, ?2)", [&sha256, &text])?;
    Ok(sha256)
}

/// The part of an attempt that the history stores.
struct AttemptRow<'a> {
    night: &'a Night,
    pair: &'a Pair,
    kernel: Option<&'a NightKernel>,
    number: usize,
    attempt: &'a Attempt,
    /// The name of its recording.
    recording: Option<&'a str>,
}

impl AttemptRow<'_> {
    fn insert(&self, change: &Connection) -> rusqlite::Result<()> {
        let Self { night, pair, kernel, number, attempt, recording } = *self;
        let run = attempt.run.as_ref();
        let git = kernel.and_then(|kernel| kernel.git.as_ref()).map(serde_json::to_string);
        let why = run.map(|run| serde_json::to_string(&run.reasons)).transpose().map_err(to_sql)?;
        let phase = |of: fn(&Timings) -> u64| run.map(|run| signed(of(&run.timings_ms)));
        change.execute(
        "INSERT INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
        params![
            night.name,
            pair.scenario,
            pair.kernel,
            i64::try_from(number).unwrap_or(i64::MAX),
            attempt.started,
            signed(attempt.wall_ms),
            attempt.host,
            kernel.map_or("", |kernel| &kernel.origin),
            pair.inputs_hash,
            attempt.error.as_ref().map(|error| &error.error_chain),
            run.map(|run| run.verdict.name()),
            why,
            run.map(|run| &run.folder),
            run.map(|run| &run.kernel.release),
            run.map(|run| &run.kernel.arch),
            run.map(|run| &run.kernel.image_sha256),
            run.map(|run| &run.qemu),
            run.map(|run| run.start.name()),
            phase(|timings| timings.boot),
            phase(|timings| timings.ssh),
            phase(|timings| timings.steps),
            phase(|timings| timings.collect),
            phase(|timings| timings.total),
            run.and(recording),
            git.transpose().map_err(to_sql)?,
        ],
    )?;
        Ok(())
    }
}

fn to_sql(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

fn past(row: &Row<'_>) -> rusqlite::Result<PastResult> {
    let text = |name: &str| row.get::<_, Option<String>>(name).map(Option::unwrap_or_default);
    let number = |name: &str| row.get::<_, Option<i64>>(name).map(|ms| unsigned(ms.unwrap_or(0)));
    let broken = |name: &str, why: serde_json::Error| {
        let at = row.as_ref().column_index(name).unwrap_or(0);
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, why.into())
    };
    let verdict: Option<String> = row.get("verdict")?;
    let run = match verdict {
        None => None,
        Some(word) => {
            let word: Verdict = serde_json::from_value(word.into()).map_err(|why| broken("verdict", why))?;
            Some(RunSummary {
                folder: text("folder")?,
                verdict: word,
                reasons: serde_json::from_str(&text("why")?).map_err(|why| broken("why", why))?,
                kernel: KernelInfo {
                    name: text("kernel")?,
                    release: text("release")?,
                    arch: text("arch")?,
                    image_sha256: text("image_sha256")?,
                    version: None,
                },
                qemu: text("qemu")?,
                start: if text("start")? == Start::Warm.name() { Start::Warm } else { Start::Cold },
                timings_ms: Timings {
                    boot: number("boot_ms")?,
                    ssh: number("ssh_ms")?,
                    steps: number("steps_ms")?,
                    collect: number("collect_ms")?,
                    total: number("total_ms")?,
                },
            })
        }
    };
    let git: Option<String> = row.get("git")?;
    let probes: Option<String> = row.get("probes")?;
    let probes = match probes {
        Some(text) => serde_json::from_str(&text).map_err(|why| broken("probes", why))?,
        None => Vec::new(),
    };
    Ok(PastResult {
        night: text("night")?,
        status: run.as_ref().map_or(PairStatus::HostError, |run| run.verdict.into()),
        run,
        harness: text("harness")?,
        origin: text("origin")?,
        git: git.map(|git| serde_json::from_str(&git)).transpose().map_err(|why| broken("git", why))?,
        inputs_hash: text("inputs")?,
        probes,
    })
}

/// SQLite has signed integers only; our values are milliseconds and small.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;

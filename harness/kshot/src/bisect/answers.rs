//! The answer of one run, and the answers of earlier runs, which are recorded in the cache.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::driver::{CandidateError, TestRun};
use super::question::{Question, RunEvidence};
use crate::artifacts::step_file;
use crate::run::{self, RunContext, RunError, RunOptions, StartPolicy};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::host::FileError;
use kshot_guest::host::cache;
use kshot_guest::kernel::KernelError;
use kshot_guest::{bounded, records};
use kshot_stack::document::RunDocument;

/// How many bytes of a console log or capture are searched for a text.
const MAX_TEXT_BYTES: u64 = 64 * 1024 * 1024;

/// What the runs of a bisection replay and answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedScenario<'a> {
    /// The scenario.
    pub(crate) scenario: &'a Scenario,
    /// The question that each run of it answers.
    pub(crate) question: &'a Question,
}

/// Runs a kernel once and evaluates the question.
pub(crate) fn run_once(context: RunContext<'_>, asked: AskedScenario<'_>) -> Result<TestRun, CandidateError> {
    // Runs from one saved state share everything that chance decided at boot, so they would not be
    // independent.
    let options = RunOptions { keep: true, start_policy: StartPolicy::Cold, ..RunOptions::default() };
    let outcome = run::run(context, asked.scenario, &options)?;
    let answer = evaluate_run(asked, &outcome.document, &outcome.folder)?;
    let folder = outcome.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(TestRun { answer, run_folder: Some(folder) })
}

/// Evaluates a question on a run folder.
fn evaluate_run(
    asked: AskedScenario<'_>,
    document: &RunDocument,
    folder: &Path,
) -> Result<String, CandidateError> {
    let text = |path: &Path| {
        let mut bytes = Vec::new();
        let read = bounded::open(path).and_then(|file| file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes));
        read.map_err(|error| host_error("read", path, error))?;
        Ok::<_, CandidateError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let captures: Vec<PathBuf> =
        asked.scenario.probes.iter().filter_map(|probe| probe.find_text(folder)).collect();
    let captures = captures.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
    let steps = &asked.scenario.steps;
    let last_step = steps.last().map(|step| folder.join(step_file(steps.len(), step.repeat)));
    // A run that ended before its last step has no output of it.
    let last_step = last_step.filter(|path| path.is_file()).map_or(Ok(String::new()), |path| text(&path))?;
    let console = text(&folder.join(kshot_guest::machine::CONSOLE_LOG))?;
    let evidence = RunEvidence {
        scenario: asked.scenario,
        document,
        captures: &captures,
        console: &console,
        last_step: &last_step,
    };
    asked.question.evaluate(&evidence).map_err(CandidateError::Skip)
}

/// The recorded answers of one kernel, guest, scenario and question, in the order of the runs.
pub(super) struct RecordedAnswers {
    path: PathBuf,
    pub(super) answers: Vec<String>,
}

impl RecordedAnswers {
    /// The answers of runs with the same kernel, guest, scenario and question.
    pub(super) fn of(context: RunContext<'_>, asked: AskedScenario<'_>) -> Result<Self, CandidateError> {
        let RunContext { workspace, kernel, .. } = context;
        let AskedScenario { scenario, question } = asked;
        let parts = [
            env!("CARGO_PKG_VERSION").into(),
            run::state_key(context, scenario)?,
            serde_json::to_string(&(scenario, question)).expect("a scenario has string keys only"),
            kernel.name.clone(),
            // Only a verdict rests on snapshots.
            match question {
                Question::Verdict(_) => {
                    run::inputs_hash(workspace, scenario, &kernel.name).map_err(RunError::from)?
                }
                _ => String::new(),
            },
        ];
        Self::at(workspace, &cache::key(parts.iter().map(String::as_bytes)))
    }

    fn at(workspace: &Workspace, key: &str) -> Result<Self, CandidateError> {
        let folder = workspace.cache.root().join("verdicts");
        fs::create_dir_all(&folder).map_err(|error| host_error("make", &folder, error))?;
        let path = folder.join(key);
        let read = records::read(&path, never).map_err(|error| host_error("read", &path, error))?;
        Ok(Self { answers: read.records, path })
    }

    pub(super) fn forget(&mut self) -> Result<(), CandidateError> {
        self.answers.clear();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(host_error("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn add(&self, answer: &str) -> Result<(), CandidateError> {
        records::append(&self.path, answer, never).map_err(|error| host_error("write", &self.path, error))
    }
}

/// A record without a checksum is not trusted: a cut `holds` would read `hol`.
fn never(_: &str) -> bool {
    false
}

fn host_error(action: &'static str, path: &Path, source: std::io::Error) -> CandidateError {
    KernelError::File(FileError { action, path: path.into(), source }).into()
}

//! The engine of this host: some runs at once, each by the walk.

use std::time::{Duration, Instant, SystemTime};

use super::plan::QueuedPair;
use super::{Completion, NightContext, NightlyError, ResultFolder, TimeLimit, host};
use crate::durations::milliseconds;
use crate::pool;
use crate::run::{self, RunContext, RunError, RunOptions, StartPolicy};
use crate::scenario::Scenario;
use kshot_guest::kernel::Kernel;
use kshot_guest::progress::Progress;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::night::results::{Attempt, AttemptError, Night, RunSummary};

/// A pair that is about to run.
struct PairJob<'a> {
    /// The pair's number in the night.
    number: usize,
    scenario: &'a Scenario,
    kernel: &'a Kernel,
    expected: Duration,
}

/// Why nothing more is run.
enum Stop {
    Interrupted,
    Failed(NightlyError),
}

/// Runs what is open, `jobs` at once, but for pairs that would not be done in time.
pub(super) fn run(
    context: &NightContext<'_>,
    folder: &ResultFolder,
    night: &mut Night,
    queue: Vec<QueuedPair>,
    jobs: usize,
    limits: TimeLimit,
) -> Result<Completion, NightlyError> {
    let task = context.progress.task("nightly", queue.len() as u64);
    let job = |queued: QueuedPair| {
        let pair = &night.pairs[queued.pair];
        let scenario = context.scenarios.iter().find(|one| one.id == pair.scenario)?;
        let kernel = context.kernels.get(&pair.kernel)?;
        Some(PairJob { number: queued.pair, scenario, kernel, expected: queued.expected })
    };
    let pairs: Vec<PairJob<'_>> = queue.into_iter().filter_map(job).collect();
    let waits = context.progress.of_waits();
    let work = |pair: &PairJob<'_>| {
        let in_time = limits.remaining().is_none_or(|left| pair.expected <= left);
        in_time.then(|| run_pair(context, folder, pair, &waits))
    };
    let mut done = 0;
    let ended = pool::each(&pairs, jobs, work, |index, attempt| {
        let PairJob { number, scenario, kernel, .. } = &pairs[index];
        let Some(attempt) = attempt else { return Ok(()) };
        done += 1;
        task.update(done, &format!("{} on {}", scenario.id, kernel.name));
        night.pairs[*number].attempts.push(attempt.map_err(|_| Stop::Interrupted)?);
        // At once, so that nothing is lost if we are killed.
        folder.write(night).map_err(Stop::Failed)
    });
    match ended {
        Ok(()) => Ok(Completion::Done),
        Err(Stop::Interrupted) => Ok(Completion::Interrupted),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Runs a pair once; `Err` if Ctrl-C ended it, which says nothing about the pair.
fn run_pair(
    context: &NightContext<'_>,
    folder: &ResultFolder,
    pair: &PairJob<'_>,
    progress: &Progress,
) -> Result<Attempt, RunError> {
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let began = Instant::now();
    let options = RunOptions {
        keep: true,
        repeat: context.repeat,
        start_policy: StartPolicy::Both,
        ..RunOptions::default()
    };
    let workspace = folder.workspace(context.workspace);
    let context = RunContext { workspace: &workspace, kernel: pair.kernel, progress };
    let (run, error, took) = match run::run(context, pair.scenario, &options) {
        Ok(outcome) => {
            let line = RunSummary::of(&outcome.document, folder.relative(&outcome.folder));
            (Some(line), None, outcome.machine_ms)
        }
        Err(error) if error.blame() == Blame::Interrupted => return Err(error),
        Err(error) => (None, Some(AttemptError::of(&error)), milliseconds(began.elapsed())),
    };
    Ok(Attempt { started, wall_ms: took, host: host(), run, error })
}

//! The engine of this host: some runs at once, each by the walk.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::{Completion, NightContext, NightlyError, ResultFolder, TimeLimit, host, plan};
use crate::durations::milliseconds;
use crate::run::{self, RunError, RunOptions, StartPolicy};
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::night::results::{Attempt, AttemptError, Night, RunSummary};
use kshot_stack::snapshot::count_noun;

/// What the workers share.
struct SharedWork<'a> {
    queue: Vec<plan::QueuedPair>,
    night: &'a mut Night,
    done: u64,
    end: Completion,
    error: Option<NightlyError>,
}

/// Runs what is open, `jobs` at once, until nothing is left that would be done in time.
pub(super) fn run(
    context: &NightContext<'_>,
    folder: &ResultFolder,
    night: &mut Night,
    queue: Vec<plan::QueuedPair>,
    jobs: usize,
    limits: TimeLimit,
) -> Result<Completion, NightlyError> {
    let task = context.progress.task("nightly", queue.len() as u64);
    let shared = Mutex::new(SharedWork { queue, night, done: 0, end: Completion::Done, error: None });
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((number, scenario, kernel)) = take_pair(&shared, limits) {
                    let detail = format!("{scenario} on {kernel}");
                    task.update(lock(&shared).done, &detail);
                    let attempt = run_pair(context, folder, &scenario, &kernel);
                    record_attempt(&shared, folder, number, attempt);
                }
            });
        }
    });
    drop(task);
    let SharedWork { queue, night, end, error, .. } =
        shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    if end == Completion::Done && !queue.is_empty() {
        night
            .notes
            .push(format!("the deadline passed before {} ran", count_noun(queue.len() as u64, "pair")));
    }
    Ok(end)
}

fn lock<'a, 'b>(shared: &'a Mutex<SharedWork<'b>>) -> std::sync::MutexGuard<'a, SharedWork<'b>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the next pair, unless the invocation has ended.
fn take_pair(shared: &Mutex<SharedWork<'_>>, limits: TimeLimit) -> Option<(usize, String, String)> {
    let mut shared = lock(shared);
    if shared.end == Completion::Interrupted || shared.error.is_some() {
        return None;
    }
    let next = plan::take_next(&mut shared.queue, limits.remaining())?;
    let pair = &shared.night.pairs[next.pair];
    Some((next.pair, pair.scenario.clone(), pair.kernel.clone()))
}

/// Runs a pair once; `Err` if Ctrl-C ended it, which says nothing about the pair.
fn run_pair(
    context: &NightContext<'_>,
    folder: &ResultFolder,
    scenario: &str,
    kernel: &str,
) -> Result<Attempt, RunError> {
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let began = Instant::now();
    let scenario = context.scenarios.iter().find(|one| one.id == scenario);
    let (Some(scenario), Some(kernel)) = (scenario, context.kernels.get(kernel)) else {
        unreachable!("only pairs of the night wait for their turn")
    };
    let options = RunOptions {
        keep: true,
        repeat: context.repeat,
        start_policy: StartPolicy::Both,
        ..RunOptions::default()
    };
    let workspace = folder.workspace(context.workspace);
    let quiet = kshot_guest::progress::Progress::silent();
    let (run, error, took) = match run::run(&workspace, scenario, kernel, &options, &quiet) {
        Ok(outcome) => {
            let line = RunSummary::of(&outcome.document, folder.relative(&outcome.folder));
            (Some(line), None, outcome.machine_ms)
        }
        Err(error) if error.blame() == Blame::Interrupted => return Err(error),
        Err(error) => (None, Some(AttemptError::of(&error)), milliseconds(began.elapsed())),
    };
    Ok(Attempt { started, wall_ms: took, host: host(), run, error })
}

/// Writes an attempt down at once, so that nothing is lost if we are killed.
fn record_attempt(
    shared: &Mutex<SharedWork<'_>>,
    folder: &ResultFolder,
    number: usize,
    attempt: Result<Attempt, RunError>,
) {
    let mut shared = lock(shared);
    shared.done += 1;
    match attempt {
        Ok(attempt) => {
            shared.night.pairs[number].attempts.push(attempt);
            if let Err(error) = folder.write(shared.night) {
                shared.error = Some(error);
            }
        }
        Err(_) => shared.end = Completion::Interrupted,
    }
}

//! The driver: builds and runs what the search asks for, and logs each result at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::bisector::Bisector;
use super::log::{BisectLog, BisectLogError, LogEntry};
use super::plan::{BisectionResult, Candidate, NextStep, Purpose, RemainingWork, SearchEvent};
use crate::run::RunError;
use kshot_guest::debian::AptError;
use kshot_guest::git::GitError;
use kshot_guest::kernel::KernelError;
use kshot_guest::progress::Progress;
use kshot_stack::blame::{Blame, Blamed, error_chain, passed_on_blame};
use kshot_stack::text::count_noun;

/// Builds and runs candidates.
pub(crate) trait Tester {
    /// The candidate's name in reports.
    fn name(&self, candidate: Candidate) -> String;

    /// Builds a candidate.
    fn build(&mut self, candidate: Candidate) -> Result<BuiltCandidate, CandidateError>;

    /// Runs a candidate for the `number`-th time, counted from 0 over all candidates with the same image.
    fn run(&mut self, candidate: Candidate, number: usize) -> Result<TestRun, CandidateError>;

    /// Builds the candidate that was built last once more; does nothing where none was.
    fn build_last_again(&mut self) -> Result<(), CandidateError>;

    /// Builds nodes that may be needed after the next run.
    fn build_ahead(&mut self, nodes: &[usize]);
}

/// A candidate that was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BuiltCandidate {
    /// The SHA-256 of its image.
    pub(crate) image_sha256: String,
    /// The kernel release.
    pub(crate) release: String,
    /// Notes on the build: symbols that this version lacks, the origin of the source.
    pub(crate) notes: Vec<String>,
}

/// A run that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestRun {
    /// The answer.
    pub(crate) answer: String,
    /// The run folder's name; `None` if the result was recorded earlier.
    pub(crate) run_folder: Option<String>,
}

/// Why a candidate could not be built or run.
#[derive(Debug)]
pub(crate) enum CandidateError {
    /// The candidate's own fault: it is skipped.
    Skip(String),
    /// The candidate did not build, and nothing shows whether that is its own fault.
    InDoubt(String),
    /// An error of the host: it is retried.
    Host(BisectError),
    /// An error that ends the bisection; the results so far are kept.
    Abort(BisectError),
}

/// An error that ends a bisection without a result.
#[derive(Debug, thiserror::Error)]
pub enum BisectError {
    /// Building a kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A commit that was built before does not build any more.
    #[error("this host cannot build any more: a kernel that it built before no longer builds")]
    HostCannotBuild {
        /// How it fails.
        source: Box<BisectError>,
    },
    /// Running a kernel failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Reading the archive's indexes failed.
    #[error(transparent)]
    Archive(#[from] AptError),
    /// Reading or writing the bisection's log failed.
    #[error(transparent)]
    Log(#[from] BisectLogError),
}

impl Blamed for BisectError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        Some(match self {
            Self::Kernel(error) => error,
            Self::HostCannotBuild { source } => &**source,
            Self::Run(error) => error,
            Self::Git(error) => error,
            Self::Archive(error) => error,
            Self::Log(error) => error,
        })
    }

    fn blame(&self) -> Blame {
        match self {
            Self::HostCannotBuild { source } if source.blame() != Blame::Interrupted => Blame::Host,
            _ => passed_on_blame(self),
        }
    }
}

impl From<BisectError> for CandidateError {
    /// The error's blame decides whether the candidate is skipped.
    fn from(error: BisectError) -> Self {
        let why = error_chain(&error);
        match error {
            BisectError::Kernel(ref failed) if failed.is_unavailable() => Self::Skip(why),
            BisectError::Kernel(KernelError::SettingDropped { .. }) => Self::Skip(why),
            BisectError::Kernel(ref failed) if failed.is_in_doubt() => Self::InDoubt(why),
            _ => match error.blame() {
                Blame::Guest => Self::Skip(why),
                Blame::Host => Self::Host(error),
                Blame::Usage | Blame::Input | Blame::Interrupted => Self::Abort(error),
            },
        }
    }
}

impl From<KernelError> for CandidateError {
    fn from(error: KernelError) -> Self {
        BisectError::from(error).into()
    }
}

impl From<GitError> for CandidateError {
    fn from(error: GitError) -> Self {
        BisectError::from(error).into()
    }
}

impl From<RunError> for CandidateError {
    fn from(error: RunError) -> Self {
        BisectError::from(error).into()
    }
}

/// Drives a search to its result. Each event is on disk before the next step starts, so that a killed
/// bisection can be resumed.
///
/// # Errors
/// [`BisectError`]: what no further try can mend.
pub(crate) fn drive_search(
    search: &mut Bisector,
    log: &mut BisectLog,
    tester: &mut dyn Tester,
    progress: &Progress,
) -> Result<BisectionResult, BisectError> {
    let mut built: BTreeSet<Candidate> = search.events().iter().filter_map(built_candidate).collect();
    let mut pace = StepDurations::of(log.entries());
    loop {
        let (candidate, purpose, left) = match search.next_step() {
            NextStep::Done(outcome) => return Ok(outcome),
            NextStep::Run { candidate, purpose, left } => (candidate, purpose, left),
        };
        tester.build_ahead(&search.likely_next());
        let started = Instant::now();
        let mut record = LogEntry { name: tester.name(candidate), ..LogEntry::default() };
        let tried = if built.contains(&candidate) {
            tester.run(candidate, search.run_count(candidate)).map(|ran| {
                record.run_folder = ran.run_folder;
                SearchEvent::Ran { candidate, purpose, answer: ran.answer }
            })
        } else {
            tester.build(candidate).map(|made| {
                built.insert(candidate);
                (record.release, record.notes) = (made.release, made.notes);
                SearchEvent::Built { candidate, image: made.image_sha256 }
            })
        };
        let event = match tried {
            Ok(event) => event,
            Err(CandidateError::Skip(why)) => SearchEvent::Skip { candidate, why },
            Err(CandidateError::InDoubt(why)) => match tester.build_last_again() {
                Ok(()) => SearchEvent::Skip { candidate, why },
                Err(CandidateError::Abort(error)) => return Err(error),
                Err(_) => SearchEvent::HostError {
                    why: format!("{why}; and a kernel that was built before no longer builds"),
                },
            },
            Err(CandidateError::Host(error)) => SearchEvent::HostError { why: error_chain(&error) },
            Err(CandidateError::Abort(error)) => return Err(error),
        };
        record.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.event = Some(event.clone());
        pace.add(&record);
        progress.print_line(&progress_line(&record, purpose, left, &pace));
        log.append(record)?;
        search.add_event(event);
    }
}

fn built_candidate(event: &SearchEvent) -> Option<Candidate> {
    match event {
        SearchEvent::Built { candidate, .. } => Some(*candidate),
        _ => None,
    }
}

/// The average duration of builds and runs.
#[derive(Clone, Copy, Debug, Default)]
struct StepDurations {
    build: (u64, u32),
    run: (u64, u32),
}

impl StepDurations {
    fn of(records: &[LogEntry]) -> Self {
        let mut pace = Self::default();
        records.iter().for_each(|record| pace.add(record));
        pace
    }

    fn add(&mut self, record: &LogEntry) {
        let sum = match record.event {
            Some(SearchEvent::Built { .. }) => &mut self.build,
            Some(SearchEvent::Ran { .. }) => &mut self.run,
            _ => return,
        };
        (sum.0, sum.1) = (sum.0 + record.milliseconds, sum.1 + 1);
    }

    fn estimate(&self, left: RemainingWork) -> Duration {
        let mean = |(sum, count): (u64, u32)| sum.checked_div(u64::from(count)).unwrap_or(0);
        Duration::from_millis(
            mean(self.build) * u64::from(left.evaluations) + mean(self.run) * u64::from(left.runs),
        )
    }
}

/// The progress line of a step: `6.1.180: does not match (evaluation, 3.9 s); 3 suspects, 2 evaluations and
/// 12 runs to go, about 5 min`
fn progress_line(record: &LogEntry, purpose: Purpose, left: RemainingWork, pace: &StepDurations) -> String {
    let seconds = record.milliseconds as f64 / 1000.0;
    let what = match &record.event {
        Some(SearchEvent::Built { .. }) => format!("built {} in {seconds:.1} s", record.release),
        Some(SearchEvent::Ran { answer, .. }) if record.run_folder.is_none() => {
            format!("{answer} ({}, recorded)", purpose.name())
        }
        Some(SearchEvent::Ran { answer, .. }) => format!("{answer} ({}, {seconds:.1} s)", purpose.name()),
        Some(SearchEvent::Skip { why, .. }) => format!("skipped: {}", shorten_reason(why)),
        Some(SearchEvent::HostError { why }) => format!("host error: {}", shorten_reason(why)),
        None => String::new(),
    };
    let minutes = pace.estimate(left).as_secs().div_ceil(60);
    let suspects = match purpose {
        Purpose::Halve => {
            let suspects = count_noun(left.suspects as u64, "suspect");
            let evaluations = count_noun(left.evaluations.into(), "evaluation");
            format!("{suspects}, {evaluations} and ")
        }
        _ => String::new(),
    };
    format!(
        "{}: {what}; {suspects}{} to go, about {minutes} min",
        record.name,
        count_noun(left.runs.into(), "run")
    )
}

/// A long reason in one line: its beginning, and the first error in the log that it quotes.
pub(crate) fn shorten_reason(why: &str) -> String {
    /// The maximum length in characters.
    const MOST: usize = 160;
    let first = why.lines().next().unwrap_or_default();
    let first = first.split("; the log ").next().unwrap_or_default();
    let error =
        why.lines().skip(1).find(|line| ["error:", "Error ", "can't"].iter().any(|word| line.contains(word)));
    let text = error.map_or_else(|| first.to_owned(), |error| format!("{first}: {}", error.trim()));
    if text.chars().count() <= MOST {
        text
    } else {
        text.chars().take(MOST - 3).chain("...".chars()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;

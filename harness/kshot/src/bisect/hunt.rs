//! The driver: builds and runs what the search asks for, and logs each result at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::journal::{Journal, JournalError, Record};
use super::plan::{Event, Left, Next, Outcome, Purpose, Subject};
use super::search::Search;
use crate::run::RunError;
use kshot_guest::debian::AptError;
use kshot_guest::git::GitError;
use kshot_guest::kernel::KernelError;
use kshot_guest::progress::Progress;
use kshot_stack::fault::{Blame, Fault, error_chain};

/// Builds and runs candidates.
pub(crate) trait Lab {
    /// The candidate's name in reports.
    fn name(&self, subject: Subject) -> String;

    /// Builds a candidate.
    fn build(&mut self, subject: Subject) -> Result<Built, Trouble>;

    /// Runs a candidate for the `number`-th time, counted from 0 over all candidates with the same image.
    fn run(&mut self, subject: Subject, number: usize) -> Result<Ran, Trouble>;

    /// Builds nodes that may be needed after the next run.
    fn ahead(&mut self, nodes: &[usize]);
}

/// A candidate that was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Built {
    /// The SHA-256 of its image.
    pub(crate) image: String,
    /// The kernel release.
    pub(crate) release: String,
    /// Notes on the build: symbols that this version lacks, the origin of the source.
    pub(crate) notes: Vec<String>,
}

/// A run that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// The observed state.
    pub(crate) state: String,
    /// The run folder's name; `None` if the result was recorded earlier.
    pub(crate) folder: Option<String>,
}

/// Why a candidate could not be built or run.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The candidate's own fault: it is skipped.
    CannotTell(String),
    /// An error of the host: it is retried.
    Host(HuntError),
    /// An error that ends the bisection; the results so far are kept.
    Stop(HuntError),
}

/// An error that ends a bisection without a result.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// Building a kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
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
    Journal(#[from] JournalError),
}

impl Fault for HuntError {
    fn blame(&self) -> Blame {
        match self {
            Self::Kernel(error) => error.blame(),
            Self::Run(error) => error.blame(),
            Self::Git(error) => error.blame(),
            Self::Archive(error) => error.blame(),
            Self::Journal(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Git(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::Journal(error) => error.hint(),
        }
    }
}

impl From<HuntError> for Trouble {
    /// The error's blame decides whether the candidate is skipped.
    fn from(error: HuntError) -> Self {
        /// What a tool says whose host fails it.
        const HOST: [&str; 3] = ["No space left on device", "Cannot allocate memory", "signal: 9"];
        let why = error_chain(&error);
        match error {
            HuntError::Kernel(ref fault) if fault.is_unavailable() => Self::CannotTell(why),
            HuntError::Kernel(KernelError::SettingDropped { .. }) => Self::CannotTell(why),
            _ => match error.blame() {
                Blame::Guest if HOST.iter().any(|words| why.contains(words)) => Self::Host(error),
                Blame::Guest => Self::CannotTell(why),
                Blame::Host => Self::Host(error),
                Blame::Usage | Blame::Scenario | Blame::Interrupted => Self::Stop(error),
            },
        }
    }
}

impl From<KernelError> for Trouble {
    fn from(error: KernelError) -> Self {
        HuntError::from(error).into()
    }
}

impl From<GitError> for Trouble {
    fn from(error: GitError) -> Self {
        HuntError::from(error).into()
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        HuntError::from(error).into()
    }
}

/// Drives a search to its result. Each event is on disk before the next step starts, so that a killed bisection can be
/// resumed.
///
/// # Errors
/// [`HuntError`]: what no further try can mend.
pub(crate) fn hunt(
    search: &mut Search,
    journal: &mut Journal,
    lab: &mut dyn Lab,
    progress: &Progress,
) -> Result<Outcome, HuntError> {
    let mut built: BTreeSet<Subject> = search.events().iter().filter_map(built_of).collect();
    let mut pace = Pace::of(journal.records());
    loop {
        let (subject, purpose, left) = match search.next() {
            Next::Done(outcome) => return Ok(outcome),
            Next::Run { subject, purpose, left } => (subject, purpose, left),
        };
        lab.ahead(&search.ahead());
        let started = Instant::now();
        let mut record = Record { name: lab.name(subject), ..Record::default() };
        let tried = if built.contains(&subject) {
            lab.run(subject, search.runs_of(subject)).map(|ran| {
                record.folder = ran.folder;
                Event::Ran { subject, purpose, state: ran.state }
            })
        } else {
            lab.build(subject).map(|made| {
                built.insert(subject);
                (record.release, record.notes) = (made.release, made.notes);
                Event::Built { subject, image: made.image }
            })
        };
        let event = match tried {
            Ok(event) => event,
            Err(Trouble::CannotTell(why)) => Event::CannotTell { subject, why },
            Err(Trouble::Host(error)) => Event::HostFault { why: error_chain(&error) },
            Err(Trouble::Stop(error)) => return Err(error),
        };
        record.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.event = Some(event.clone());
        pace.add(&record);
        progress.print_line(&line(&record, purpose, left, &pace));
        journal.append(record)?;
        search.record(event);
    }
}

fn built_of(event: &Event) -> Option<Subject> {
    match event {
        Event::Built { subject, .. } => Some(*subject),
        _ => None,
    }
}

/// The average duration of builds and runs.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    build: (u64, u32),
    run: (u64, u32),
}

impl Pace {
    fn of(records: &[Record]) -> Self {
        let mut pace = Self::default();
        records.iter().for_each(|record| pace.add(record));
        pace
    }

    fn add(&mut self, record: &Record) {
        let sum = match record.event {
            Some(Event::Built { .. }) => &mut self.build,
            Some(Event::Ran { .. }) => &mut self.run,
            _ => return,
        };
        (sum.0, sum.1) = (sum.0 + record.milliseconds, sum.1 + 1);
    }

    fn estimate(&self, left: Left) -> Duration {
        let mean = |(sum, count): (u64, u32)| sum.checked_div(u64::from(count)).unwrap_or(0);
        Duration::from_millis(
            mean(self.build) * u64::from(left.marks) + mean(self.run) * u64::from(left.runs),
        )
    }
}

/// The progress line of a step: `6.1.180: does not match (mark, 3.9 s); 3 suspects, at most 2 marks and 12 runs to go,
/// about 5 min`
fn line(record: &Record, purpose: Purpose, left: Left, pace: &Pace) -> String {
    let seconds = record.milliseconds as f64 / 1000.0;
    let what = match &record.event {
        Some(Event::Built { .. }) => format!("built {} in {seconds:.1} s", record.release),
        Some(Event::Ran { state, .. }) if record.folder.is_none() => {
            format!("{state} ({}, on file)", purpose.word())
        }
        Some(Event::Ran { state, .. }) => format!("{state} ({}, {seconds:.1} s)", purpose.word()),
        Some(Event::CannotTell { why, .. }) => format!("skipped: {}", brief(why)),
        Some(Event::HostFault { why }) => format!("the host: {}", brief(why)),
        None => String::new(),
    };
    let minutes = pace.estimate(left).as_secs().div_ceil(60);
    let suspects = match purpose {
        Purpose::Mark => format!("{} suspects, {} marks and ", left.suspects, left.marks),
        _ => String::new(),
    };
    format!("{}: {what}; {suspects}{} runs to go, about {minutes} min", record.name, left.runs)
}

/// A long reason in one line: its beginning, and the first error in the log that it quotes.
pub(crate) fn brief(why: &str) -> String {
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
#[path = "hunt_tests.rs"]
pub(super) mod tests;

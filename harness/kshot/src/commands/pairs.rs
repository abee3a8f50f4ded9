//! Pairs of a scenario and a kernel, judged some at a time: what `run` and `check` have in common.

use std::cmp::Reverse;
use std::io::Write;

use super::{CommandError, Streams};
use crate::run::{self, RunContext, RunOptions, RunOutcome};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use crate::{durations, pool};
use kshot_guest::kernel::Kernel;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::exit::ExitCode;

/// A scenario and a kernel, with their position in the user's order.
struct PairJob {
    number: usize,
    scenario: Scenario,
    kernel: Kernel,
}

/// Judges each pair, `jobs` in parallel, and passes each result to `take` as soon as it is there, with the
/// pair's number.
///
/// # Errors
/// The first error that is not the host's. A host error does not stop the other pairs; it only goes into the
/// exit codes.
pub(super) fn run_pairs(
    workspace: &Workspace,
    pairs: Vec<(Scenario, Kernel)>,
    options: &RunOptions,
    jobs: usize,
    streams: &mut Streams<'_>,
    mut take: impl FnMut(usize, RunOutcome, &mut dyn Write) -> Result<(), CommandError>,
) -> Result<Vec<ExitCode>, CommandError> {
    let pairs = pairs.into_iter().enumerate();
    let mut pairs: Vec<_> =
        pairs.map(|(number, (scenario, kernel))| PairJob { number, scenario, kernel }).collect();
    // The longest pairs start first, so that none of them is left for the end; pairs of unknown duration come
    // before them.
    pairs.sort_by_cached_key(|PairJob { number, scenario, kernel }| {
        let expected = durations::last_duration(&workspace.cache, &scenario.id, &kernel.name);
        (expected.is_some(), Reverse(expected), *number)
    });
    let Streams { out, progress, .. } = streams;
    let task = (pairs.len() > 1).then(|| progress.task("pairs", pairs.len() as u64));
    let (mut exits, mut done) = (Vec::new(), 0);
    let work = |PairJob { scenario, kernel, .. }: &PairJob| {
        run::run(RunContext { workspace, kernel, progress }, scenario, options)
    };
    pool::each(&pairs, jobs, work, |index, result| {
        let PairJob { number, scenario, kernel } = &pairs[index];
        done += 1;
        if let Some(task) = &task {
            task.update(done, &format!("{} on {}", scenario.id, kernel.name));
        }
        match result {
            Ok(outcome) => {
                exits.push(ExitCode::from(outcome.document.verdict));
                take(*number, outcome, *out)
            }
            Err(error) if matches!(error.blame(), Blame::Host | Blame::Guest) => {
                exits.push(ExitCode::from(error.blame()));
                progress.print_line(CommandError::from(error).render().trim_end());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })?;
    Ok(exits)
}

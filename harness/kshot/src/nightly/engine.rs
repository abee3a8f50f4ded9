//! Runs units of a night on other hosts, through GNU parallel over SSH or through Slurm.
//!
//! A unit is a night of its own, made by the same command on the host that gets it. Its results come back as
//! one archive and are put into ours. What comes back without a verdict goes into the next round, to other
//! hosts.
#![expect(clippy::disallowed_methods, reason = "engines are programs of the host")]

mod collector; // what came back of a unit into the night's folder
mod round; // the files that are sent to a host
mod parallel; // GNU parallel over SSH
mod slurm; // Slurm

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use collector::ResultCollector;
use round::RoundFolder;

use super::plan::{self, QueuedPair, WorkUnit};
use super::{Completion, EngineError, EngineProgram, NightContext, NightlyError, ResultFolder, TimeLimit};
use kshot_guest::host::{OnInterrupt, ProgramError, interrupt, output_of};
use kshot_stack::night::results::Night;

/// How often pairs without a verdict are sent again, to other hosts.
const ROUNDS: usize = 3;
/// The time limit of a host's health check.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// The program that dispatches units to hosts.
#[derive(Clone, Debug)]
pub enum Sender {
    /// GNU parallel over SSH; the file names the hosts as `parallel --sshloginfile` reads them.
    Parallel(PathBuf),
    /// A Slurm job array. The result folder must be on a file system that the nodes share.
    Slurm,
}

/// How the hosts are used.
#[derive(Clone, Debug)]
pub struct RemoteHosts {
    /// The program that dispatches the units.
    pub sender: Sender,
    /// Whether the hosts provision missing kernels.
    pub provision: bool,
}

/// A unit that was dispatched.
#[derive(Clone, Debug)]
struct DispatchedUnit {
    /// The unit's name: `unit-007`.
    name: String,
    unit: WorkUnit,
}

/// The status of a unit, as the dispatcher reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UnitStatus {
    /// The host that ran the unit, if it is known.
    host: Option<String>,
    /// The error, if the unit failed.
    error: Option<String>,
}

/// Runs what is open on other hosts, round after round.
pub(super) fn run(
    context: &NightContext<'_>,
    folder: &ResultFolder,
    night: &mut Night,
    mut queue: Vec<QueuedPair>,
    hosts: &RemoteHosts,
    limits: TimeLimit,
) -> Result<Completion, NightlyError> {
    interrupt::install_handlers().map_err(EngineError::Signals)?;
    let task = context.progress.task("nightly", queue.len() as u64);
    let all = queue.len();
    let mut out: HashSet<String> = HashSet::new();
    let mut collector = ResultCollector::new(folder);
    for number in 1..=ROUNDS {
        if queue.is_empty() || limits.remaining().is_some_and(|left| left.is_zero()) {
            break;
        }
        let round_folder = folder.path().join("units").join(format!("round-{number}"));
        let round = RoundFolder::create(context, &round_folder, hosts, &limits)?;
        let there = healthy_hosts(hosts, &round, &mut out, night)?;
        if there.is_empty() {
            // The night's notes say why.
            folder.write(night)?;
            if number > 1 {
                break;
            }
            return Err(EngineError::NoHost.into());
        }
        task.update((all - queue.len()) as u64, &format!("round {number} on {}", there.join(", ")));
        let units = plan::pack(queue.clone(), there.len() * 2);
        let sent = round.write_units(units, night)?;
        let dispatched = match &hosts.sender {
            Sender::Parallel(_) => parallel::dispatch(&round, &sent, &there),
            Sender::Slurm => slurm::dispatch(&round, &sent, &out),
        };
        let end = match dispatched {
            // What came back until then counts, and the rest goes into the next round.
            Err(EngineError::TimedOut(late)) => {
                night.add_note(format!("round {number} was ended: {late}"));
                Completion::Done
            }
            end => end?,
        };
        let collected = sent.iter().try_for_each(|one| {
            let status = match &hosts.sender {
                Sender::Parallel(_) => parallel::unit_status(&round, &one.name),
                Sender::Slurm => slurm::unit_status(&round, &one.name),
            };
            out.extend(collector.collect(&round, one, &status, end, night)?);
            Ok::<_, NightlyError>(())
        });
        if let Sender::Parallel(_) = hosts.sender {
            parallel::remove_remote_files(&round);
        }
        // What was collected before a failure is kept.
        folder.write(night)?;
        collected?;
        if end == Completion::Interrupted {
            return Ok(end);
        }
        queue.retain(|one| night.pairs[one.pair].is_open());
    }
    collector.finish(night);
    Ok(Completion::Done)
}

/// The hosts of a round: those that pass the health check and have not failed a unit. If all have failed one,
/// those that pass get another chance.
fn healthy_hosts(
    hosts: &RemoteHosts,
    round: &RoundFolder,
    out: &mut HashSet<String>,
    night: &mut Night,
) -> Result<Vec<String>, EngineError> {
    let checked = match &hosts.sender {
        Sender::Parallel(file) => parallel::check_hosts(round, file)?,
        Sender::Slurm => slurm::check_hosts()?,
    };
    let mut sound = Vec::new();
    for (host, error) in checked {
        match error {
            None => sound.push(host),
            Some(error) => {
                night.add_note(format!("host {host} was taken out: {error}"));
            }
        }
    }
    let fresh: Vec<String> = sound.iter().filter(|host| !out.contains(*host)).cloned().collect();
    if fresh.is_empty() {
        out.clear();
        return Ok(sound);
    }
    for host in sound.iter().filter(|host| out.contains(*host)) {
        night.add_note(format!("host {host} was taken out: it answers, but a unit failed on it"));
    }
    Ok(fresh)
}

/// The time limit of a round.
fn round_timeout(sent: &[DispatchedUnit]) -> Duration {
    let longest = sent.iter().map(|one| one.unit.expected).max().unwrap_or_default();
    let all: Duration = sent.iter().map(|one| one.unit.expected).sum();
    // A host may be slower than the one that was measured, and may have to build a kernel first.
    (longest + all) * 10 + Duration::from_secs(3600)
}

/// Runs a program of the host in `folder` until it ends; `None` where it was killed, because of Ctrl-C.
fn run_program(
    program: EngineProgram,
    expression: &duct::Expression,
    folder: &Path,
    limit: Duration,
    on_interrupt: OnInterrupt,
) -> Result<Option<ProgramResult>, EngineError> {
    let output = match output_of(&expression.dir(folder), &program.to_string(), limit, on_interrupt) {
        Ok(output) => output,
        Err(ProgramError::Interrupted) => return Ok(None),
        Err(ProgramError::TimedOut(late)) => return Err(EngineError::TimedOut(late)),
        Err(ProgramError::CannotRun(source)) => return Err(EngineError::Start { program, source }),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(ProgramResult {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }))
}

/// The result of a program of the host.
struct ProgramResult {
    /// The exit status; `None` after a signal.
    code: Option<i32>,
    out: String,
    err: String,
}

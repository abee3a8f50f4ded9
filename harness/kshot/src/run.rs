//! The walk: from a scenario and a kernel to a verdict.

mod judge; // from captures to a verdict
mod prepare; // what has to be there before a machine starts
pub(crate) mod recording; // boot, arm, replay, collect
mod machine_start; // restore or boot; saves states
mod shared_guest; // scenarios one after the other in one guest

use kshot_stack::snapshot;
use std::path::PathBuf;
use std::time::Duration;

pub use judge::rejudge;
use judge::{JudgedRun, JudgedScenario};
pub use machine_start::STATES;
pub(crate) use machine_start::StartMode;
pub use prepare::{REQUEST_LOG, command_line};
pub(crate) use prepare::{prepare, state_key};
pub use recording::shell;
use recording::{HostUse, RunRecording};
pub use shared_guest::{SharedGuest, SharedRun};

use crate::artifacts::{ArtifactsError, RunFolder};
use crate::baseline::{BaselineError, SnapshotPath};
use crate::durations;
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::host::FileError;
use kshot_guest::host::cache::{self, CacheError};
use kshot_guest::kernel::{Kernel, KernelError};
use kshot_guest::machine::{AcceleratorChoice, AcceleratorError, MachineError, MonitorError};
use kshot_guest::probe::ProbeError;
use kshot_guest::progress::Progress;
use kshot_guest::session::SessionError;
use kshot_guest::symbols::{Dwarf, LoadedKernel, Symbols, SymbolsError};
use kshot_guest::userland::UserlandError;
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed, error_chain, passed_on_blame, passed_on_hint};
use kshot_stack::document::{
    KernelInfo, ProbeResult, Reason, RepeatResult, RunDocument, SCHEMA, Start, Verdict,
};
use kshot_stack::results::ParsedProbe;
use kshot_stack::text;
use kshot_stack::verdict;

/// The file of the run folder with all stacks decoded, if there is DWARF.
pub(crate) const DECODED_STACKS: &str = "stacks.txt";
/// The file of the run folder that lists the functions inlined at each code location.
const INLINED: &str = "places.txt";

/// What a scenario runs on, and with.
#[derive(Clone, Copy, Debug)]
pub struct RunContext<'a> {
    /// Where the guest's parts, the snapshots, the cache and the run folders lie.
    pub workspace: &'a Workspace,
    /// The kernel that boots.
    pub kernel: &'a Kernel,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// Options of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Never prune the run folder.
    pub keep: bool,
    /// The number of runs; differing verdicts or stacks are `unstable`.
    pub repeat: u32,
    /// How the machines are started.
    pub start_policy: StartPolicy,
    /// What runs the guest's code.
    pub accelerator: AcceleratorChoice,
}

/// How the machines of a run are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPolicy {
    /// From a saved state if there is one; the first machine that boots saves it.
    #[default]
    Warm,
    /// Every machine boots and none saves its state, so that the runs share nothing but the kernel.
    Cold,
    /// The first machine boots, and the others, at least one, start from a saved state. Stacks that differ
    /// are `unstable`.
    Both,
}

/// One run of [`RunOptions::repeat`].
#[derive(Clone, Copy, Debug)]
struct RunAttempt {
    /// Never prune the run folder.
    keep: bool,
    /// How its machine starts.
    start: StartMode,
    /// What else of kshot may run at the same time.
    host_use: HostUse,
    /// What runs the guest's code.
    accelerator: AcceleratorChoice,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { keep: false, repeat: 1, start_policy: StartPolicy::Warm, accelerator: AcceleratorChoice::Tcg }
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// The result document.
    pub document: RunDocument,
    /// The run folder; the first one of several runs whose stacks the document holds.
    pub folder: PathBuf,
    /// How long the machines of all repeats ran, in milliseconds, without the wait for a slot.
    pub machine_ms: u64,
}

/// An error that ends a run without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel cannot do what the scenario asks.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The guest's userland or initramfs could not be made.
    #[error(transparent)]
    Initramfs(#[from] UserlandError),
    /// There is no userland for the guest, and none was to be made.
    #[error("there is no userland for {arch} yet, and a dry run makes none")]
    NoUserland {
        /// The architecture.
        arch: Arch,
        /// The kernel that was to boot.
        kernel: String,
    },
    /// The guest cannot be run as asked.
    #[error(transparent)]
    Accelerator(#[from] AcceleratorError),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The session in the guest failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A probe failed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A step ended with an unexpected status.
    #[error(
        "step {number} (`{script}`) ended with status {got}, not {wanted}{}{}",
        may_lack(unchecked),
        quote(tail)
    )]
    StepFailed {
        /// The step's number, from 1.
        number: usize,
        /// The first line of its script.
        script: String,
        /// The actual exit status.
        got: i32,
        /// The expected exit status.
        wanted: i32,
        /// The options that the scenario requires, without `CONFIG_`, where the kernel's `.config` is not
        /// known.
        unchecked: Vec<String>,
        /// The last lines of its output.
        tail: String,
    },
    /// The machine did not send the interrupt of a step.
    #[error("step {number}: no non-maskable interrupt can be sent")]
    Nmi {
        /// The step's number, from 1.
        number: usize,
        /// What QEMU's monitor said.
        source: MonitorError,
    },
    /// A file that the machine boots is damaged.
    #[error("{} is damaged: it is not what it was when it was made or found", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// Whether it was removed, so that it is made again.
        is_removed: bool,
    },
    /// The restored guest is not the one that was saved.
    #[error("the restored guest is not the one that was saved (status {status}): {}", text::last_lines(output.as_bytes(), 1))]
    WrongGuest {
        /// The exit status of the check.
        status: i32,
        /// The command's output.
        output: String,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The run folder cannot be written or read.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// The kernel's symbols cannot be read.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// A snapshot cannot be read.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
}

/// What a step said at the end, if it said anything.
fn quote(tail: &str) -> String {
    if tail.trim().is_empty() { String::new() } else { format!("; its last lines:\n{tail}") }
}

fn may_lack(unchecked: &[String]) -> String {
    match unchecked {
        [] => String::new(),
        options => format!(
            ". The kernel may lack CONFIG_{}, which the scenario requires: its .config is not known",
            options.join(", CONFIG_")
        ),
    }
}

impl RunError {
    /// Whether the guest was late because the host had no time for it.
    fn is_host_too_busy(&self) -> bool {
        matches!(
            self,
            Self::Machine(MachineError::HostTooBusy(_))
                | Self::Session(SessionError::HostTooBusy(_))
                | Self::Probe(ProbeError::Guest(SessionError::HostTooBusy(_)))
        )
    }
}

impl Blamed for RunError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        Some(match self {
            Self::Kernel(error) => error,
            Self::Initramfs(error) => error,
            Self::Accelerator(error) => error,
            Self::Machine(error) => error,
            Self::Session(error) => error,
            Self::Probe(error) => error,
            Self::Cache(error) => error,
            Self::Artifacts(error) => error,
            Self::Symbols(error) => error,
            Self::Baseline(error) => error,
            Self::StepFailed { .. }
            | Self::WrongGuest { .. }
            | Self::NoUserland { .. }
            | Self::DamagedFile { .. }
            | Self::Nmi { .. } => return None,
        })
    }

    fn blame(&self) -> Blame {
        match self {
            Self::StepFailed { .. } => Blame::Guest,
            Self::NoUserland { .. } => Blame::Usage,
            // The board cannot send an NMI.
            Self::Nmi { source: MonitorError::Refused { .. }, .. } => Blame::Input,
            Self::Nmi { .. } => Blame::Host,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoUserland { kernel, .. } => Some(format!("kshot provision {kernel}")),
            Self::DamagedFile { is_removed: true, .. } => {
                Some("it was removed from the cache: provision the kernel and run again".into())
            }
            Self::DamagedFile { .. } => Some("build it again, or wait for the build that writes it".into()),
            _ => passed_on_hint(self),
        }
    }
}

impl RunContext<'_> {
    /// Makes the folder of a run on the kernel; `id` is the scenario's.
    pub(crate) fn create_folder(&self, id: &str) -> Result<RunFolder, ArtifactsError> {
        RunFolder::create(&self.workspace.runs_folder, id, &self.kernel.name)
    }
}

/// Runs a scenario on a kernel, `options.repeat` times, and combines the verdicts.
///
/// # Errors
/// Errors of kshot and of the host. If the guest is to blame, that is not an error but an outcome:
/// `inconclusive`, with the reason.
pub fn run(
    context: RunContext<'_>,
    scenario: &Scenario,
    options: &RunOptions,
) -> Result<RunOutcome, RunError> {
    let RunContext { workspace, kernel, progress } = context;
    let mut outcomes = Vec::new();
    let task = progress.task(format!("{} on {}", scenario.id, kernel.name), 0);
    let repeat =
        if options.start_policy == StartPolicy::Both { options.repeat.max(2) } else { options.repeat };
    for number in 1..=repeat {
        if repeat > 1 {
            task.say(&format!("run {number} of {repeat}"));
        }
        let start = match options.start_policy {
            StartPolicy::Warm => StartMode::Restore,
            StartPolicy::Cold => StartMode::Boot,
            StartPolicy::Both if number == 1 => StartMode::BootAndKeep,
            StartPolicy::Both => StartMode::Restore,
        };
        let attempt = RunAttempt {
            keep: options.keep,
            start,
            host_use: HostUse::Shared,
            accelerator: options.accelerator,
        };
        let outcome = match run_once(context, scenario, attempt) {
            Err(error) if error.is_host_too_busy() => {
                progress.print_line(&format!("{}; once more, alone", error_chain(&error)));
                let attempt = RunAttempt { host_use: HostUse::Exclusive, ..attempt };
                run_once(context, scenario, attempt)?
            }
            outcome => outcome?,
        };
        let took = Duration::from_millis(outcome.machine_ms);
        durations::record(&workspace.cache, &scenario.id, &kernel.name, took);
        outcomes.push(outcome);
    }
    let only_cold = outcomes.iter().all(|outcome| outcome.document.start == Start::Cold);
    let mut combined = combine_outcomes(outcomes);
    if options.start_policy == StartPolicy::Both && only_cold {
        let because = combined.document.repeats.last().and_then(|repeat| repeat.cold_because.clone());
        combined.document.reasons.push(Reason::NoWarmStart { because });
    }
    Ok(combined)
}

/// Runs a scenario once: boot, replay and collect, then judge.
fn run_once(
    context: RunContext<'_>,
    scenario: &Scenario,
    attempt: RunAttempt,
) -> Result<RunOutcome, RunError> {
    let folder = context.create_folder(&scenario.id)?;
    let RunAttempt { keep, start, host_use, accelerator } = attempt;
    let prepared = match prepare(context, scenario, accelerator) {
        Ok(prepared) => prepared,
        Err(error) if error.blame() == Blame::Guest => {
            let (recording, result) = (RunRecording::default(), Err(error));
            return conclude(
                context,
                scenario,
                RecordedRun { folder, keep, decode: true, recording, result },
            );
        }
        Err(error) => {
            // Nothing is in it.
            folder.discard();
            return Err(error);
        }
    };
    let (recording, result) =
        recording::record(&prepared, scenario, start, host_use, &folder, context.progress);
    let run = RecordedRun { folder, keep, decode: true, recording, result };
    let outcome = conclude(context, scenario, run).map_err(|error| prepared.cause(error))?;
    let is_unreadable = |why: &Reason| matches!(why, Reason::Unreadable { .. });
    let in_doubt =
        outcome.document.verdict == Verdict::Drift || outcome.document.reasons.iter().any(is_unreadable);
    let damaged = if in_doubt { prepared.damaged_file() } else { None };
    damaged.map_or(Ok(outcome), Err)
}

/// A run whose captures have been fetched.
struct RecordedRun {
    folder: RunFolder,
    /// Never prune the run folder.
    keep: bool,
    /// Whether the stacks are written with file and line, too: that reads the DWARF again.
    decode: bool,
    recording: RunRecording,
    /// What ended it early, if anything.
    result: Result<(), RunError>,
}

/// Judges a run and writes the document.
fn conclude(context: RunContext<'_>, scenario: &Scenario, run: RecordedRun) -> Result<RunOutcome, RunError> {
    let RunContext { workspace, kernel, progress } = context;
    let RecordedRun { folder, keep, decode, recording, result } = run;
    let judged = match result {
        Ok(()) => {
            let RunRecording { captures, console, .. } = &recording;
            let left_out: Vec<_> =
                scenario.probes.iter().map(|probe| probe.left_out_because(kernel)).collect();
            judge::judge(
                JudgedScenario { scenario, left_out: &left_out },
                kernel,
                captures,
                console,
                &workspace.snapshots(),
            )?
        }
        Err(error) if error.blame() == Blame::Guest => JudgedRun::inconclusive(&error),
        Err(error) => {
            progress.print_line(&format!("folder of the failed run: {}", folder.path().display()));
            return Err(error);
        }
    };
    let captures_printed = judge::print_captures(scenario, &recording.captures).map_err(RunError::from);
    let stacks_decoded = match &kernel.dwarf {
        Ok(dwarf) if decode => write_decoded(dwarf, &judged.recorded, &folder),
        _ => Ok(()),
    };
    for error in [captures_printed, stacks_decoded].into_iter().filter_map(Result::err) {
        // The verdict does not depend on them.
        progress.print_line(&format!("left out of the run folder: {}", error_chain(&error)));
    }
    let document = RunDocument {
        schema: SCHEMA,
        scenario: scenario.id.clone(),
        kernel: kernel_info(kernel),
        qemu: recording.qemu,
        verdict: judged.judgement.verdict,
        reasons: judged.judgement.reasons,
        start: recording.start,
        cold_because: recording.cold_because,
        timings_ms: recording.timings,
        probes: judged.probes,
        repeats: Vec::new(),
        console: recording.console,
        artifacts: folder.list_files()?,
    };
    folder.write_document(&document, keep)?;
    let machine_ms = document.timings_ms.total;
    Ok(RunOutcome { document, folder: folder.path().into(), machine_ms })
}

/// Writes the stacks with file and line, and the functions inlined at each location.
fn write_decoded(dwarf: &Dwarf, recorded: &[ParsedProbe], folder: &RunFolder) -> Result<(), RunError> {
    if recorded.is_empty() {
        return Ok(());
    }
    let loaded = LoadedKernel::from_run_folder(dwarf, folder.path());
    let symbols = Symbols::of_recorded(&loaded, recorded)?;
    let lines = symbols.lines()?;
    folder.write(DECODED_STACKS, symbols.decode(&lines, recorded).as_bytes())?;
    folder.write(INLINED, symbols.list(&lines, recorded).as_bytes())?;
    Ok(())
}

/// A hash of the inputs of a pair's verdict, beside the kernel and its guest: the scenario's text and its
/// snapshots.
///
/// # Errors
/// [`ArtifactsError::File`].
pub(crate) fn inputs_hash(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &str,
) -> Result<String, ArtifactsError> {
    let mut files = vec![workspace.scenarios().join(format!("{}.yaml", scenario.id))];
    let snapshots = scenario.probes.iter().flat_map(|probe| {
        let snapshot = SnapshotPath::new(&workspace.snapshots(), &scenario.id, kernel, &probe.name);
        [snapshot.clone(), snapshot.without_truth()]
    });
    files.extend(snapshots.map(|snapshot| snapshot.file()));
    let mut parts = Vec::new();
    for path in files {
        match std::fs::read(&path) {
            Ok(bytes) => parts.push(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => parts.push(Vec::new()),
            Err(source) => return Err(FileError { action: "read", path, source }.into()),
        }
    }
    Ok(cache::key(parts.iter().map(Vec::as_slice)))
}

/// The kernel's description for documents.
pub(crate) fn kernel_info(kernel: &Kernel) -> KernelInfo {
    KernelInfo {
        name: kernel.name.clone(),
        release: kernel.release.clone(),
        arch: kernel.arch.to_string(),
        image_sha256: kernel.sha256.clone(),
        version: kernel.version.clone(),
    }
}

/// Combines several runs of one pair. The stacks are those of the first run with the combined verdict or, if
/// the runs disagree, of the first run that differs from the first.
fn combine_outcomes(mut outcomes: Vec<RunOutcome>) -> RunOutcome {
    if outcomes.len() == 1 {
        return outcomes.remove(0);
    }
    let verdicts: Vec<_> = outcomes.iter().map(RunOutcome::verdict).collect();
    let combined = verdict::combine_repeats(&verdicts, differing_probes(&outcomes));
    let repeats = outcomes
        .iter()
        .map(|outcome| RepeatResult {
            verdict: outcome.document.verdict,
            reasons: outcome.document.reasons.clone(),
            folder: outcome.folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            start: outcome.document.start,
            cold_because: outcome.document.cold_because.clone(),
        })
        .collect();
    let machine_ms = outcomes.iter().map(|outcome| outcome.machine_ms).sum();
    let first = outcomes[0].document.verdict;
    let differs =
        |outcome: &RunOutcome| outcome.document.verdict != first || !same_stacks(&outcomes[0], outcome);
    let deciding = outcomes.iter().position(differs).unwrap_or(0);
    let mut outcome = outcomes.swap_remove(deciding);
    outcome.document.verdict = combined.verdict;
    outcome.document.reasons = combined.reasons;
    outcome.document.repeats = repeats;
    outcome.machine_ms = machine_ms;
    outcome
}

/// The probes whose stacks differ between the runs that recorded any.
fn differing_probes(outcomes: &[RunOutcome]) -> Vec<Reason> {
    let first = &outcomes[0];
    let other = |outcome: &&RunOutcome| !same_stacks(first, outcome);
    let Some(other) = outcomes.iter().find(other) else { return Vec::new() };
    let starts = [first.document.start, other.document.start];
    let reason = |probe: &ProbeResult| Reason::StacksDiffer { probe: probe.name.clone(), starts };
    differing_stacks(first, other).map(reason).collect()
}

/// Whether two runs have the same snapshot texts. A run without stacks agrees with every other.
fn same_stacks(one: &RunOutcome, other: &RunOutcome) -> bool {
    one.document.probes.is_empty()
        || other.document.probes.is_empty()
        || differing_stacks(one, other).next().is_none()
}

/// The probes of one run whose snapshot text is another in the other run.
fn differing_stacks<'a>(one: &'a RunOutcome, other: &'a RunOutcome) -> impl Iterator<Item = &'a ProbeResult> {
    let probes = one.document.probes.iter().zip(&other.document.probes);
    let differs = |(one, other): &(&ProbeResult, &ProbeResult)| {
        snapshot::snapshot_text(one) != snapshot::snapshot_text(other)
    };
    probes.filter(differs).map(|(probe, _)| probe)
}

impl RunOutcome {
    fn verdict(&self) -> verdict::Judgement {
        verdict::Judgement { verdict: self.document.verdict, reasons: self.document.reasons.clone() }
    }
}

//! The walk: from a scenario and a kernel to a verdict.

mod judge;
pub(crate) mod record;

use std::path::PathBuf;

use judge::Judged;
pub use judge::again;
use record::Recording;
pub use record::{ASKED, command_line, shell};

use crate::arch::Arch;
use crate::artifacts::{ArtifactsError, RunFolder};
use crate::baseline::{BaselineError, Comparison};
use crate::document::{Document, KernelInfo, Repeat, SCHEMA, Start};
use crate::fault::{Blame, Fault};
use crate::image::{ImageError, Userland};
use crate::kernel::Kernel;
use crate::machine::MachineError;
use crate::probe::ProbeError;
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::session::SessionError;
use crate::symbols::{Symbols, SymbolsError};
use crate::verdict;
use crate::workspace::Workspace;

/// The file of the run folder that holds every stack decoded, where there is DWARF.
pub(crate) const STACKS: &str = "stacks.txt";

/// What a run may be asked beyond scenario and kernel.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Never prune the run folder.
    pub keep: bool,
    /// How often to run; verdicts that differ are `unstable`.
    pub repeat: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep: false, repeat: 1 }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The result document.
    pub document: Document,
    /// The run folder.
    pub folder: PathBuf,
    /// Each probe's stacks against its snapshot, by the probe's name.
    pub comparisons: Vec<(String, Comparison)>,
}

/// What stops a run without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The guest's userland or initramfs.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The link into the guest.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A probe.
    #[error(transparent)]
    Probe(#[from] ProbeError<SessionError>),
    /// A step ended otherwise than it must.
    #[error("step {number} (`{script}`) ended with status {got}, not {wanted}; its last lines:\n{tail}")]
    Step {
        /// Which step, from 1.
        number: usize,
        /// The first line of its script.
        script: String,
        /// How it ended.
        got: i32,
        /// How it had to end.
        wanted: i32,
        /// The end of what it printed.
        tail: String,
    },
    /// The run folder.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// The kernel's symbols.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// A snapshot.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
}

impl Fault for RunError {
    fn blame(&self) -> Blame {
        match self {
            Self::Image(error) => error.blame(),
            Self::Machine(error) => error.blame(),
            Self::Session(error) => error.blame(),
            Self::Probe(error) => error.blame(),
            Self::Step { .. } => Blame::Guest,
            Self::Artifacts(error) => error.blame(),
            Self::Symbols(error) => error.blame(),
            Self::Baseline(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Machine(error) => error.hint(),
            Self::Session(error) => error.hint(),
            Self::Probe(error) => error.hint(),
            Self::Step { .. } => None,
            Self::Artifacts(error) => error.hint(),
            Self::Symbols(error) => error.hint(),
            Self::Baseline(error) => error.hint(),
        }
    }
}

/// Runs a scenario on a kernel, `options.repeat` times, and folds the verdicts into one.
///
/// # Errors
/// Faults of ours and of the host. What the guest does wrong is an outcome: `inconclusive`, with the reason.
pub fn run(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &Kernel,
    options: &Options,
    progress: &Progress,
) -> Result<Outcome, RunError> {
    let mut outcomes = Vec::new();
    let task = progress.task(format!("{} on {}", scenario.id, kernel.name), 0);
    for number in 1..=options.repeat {
        task.at(0, &format!("run {number} of {}", options.repeat));
        outcomes.push(once(workspace, scenario, kernel, options, progress)?);
    }
    Ok(fold(outcomes))
}

/// One run: boot, replay, collect; then judge.
fn once(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &Kernel,
    options: &Options,
    progress: &Progress,
) -> Result<Outcome, RunError> {
    let prepared = record::prepare(workspace, scenario, kernel, progress)?;
    let folder = RunFolder::create(&workspace.runs, &scenario.id, &kernel.name)?;
    let (recording, result) = record::record(&prepared, scenario, &folder);
    let judged = match result {
        Ok(()) => {
            let Recording { captures, console, .. } = &recording;
            judge::judge(scenario, kernel, captures, console, &workspace.snapshots())?
        }
        Err(error) if error.blame() == Blame::Guest => Judged::inconclusive(&error),
        Err(error) => {
            progress.note(&format!("what there is of the run lies in {}", folder.path().display()));
            return Err(error);
        }
    };
    if let Some(vmlinux) = kernel.dwarf.as_deref().filter(|_| !judged.recorded.is_empty()) {
        let symbols = Symbols::of_recorded(vmlinux, &judged.recorded)?;
        folder.write(STACKS, symbols.decode(&judged.recorded).as_bytes())?;
    }
    let document = Document {
        schema: SCHEMA,
        scenario: scenario.id.clone(),
        kernel: kernel_info(kernel),
        qemu: recording.qemu,
        verdict: judged.verdict.word,
        why: judged.verdict.why,
        start: Start::Cold,
        timings_ms: recording.timings,
        probes: judged.probes,
        repeats: Vec::new(),
        console: recording.console,
        artifacts: folder.index()?,
    };
    folder.finish(&document, options.keep)?;
    Ok(Outcome { document, folder: folder.path().into(), comparisons: judged.comparisons })
}

/// What documents say of a kernel.
pub(crate) fn kernel_info(kernel: &Kernel) -> KernelInfo {
    KernelInfo {
        name: kernel.name.clone(),
        release: kernel.release.clone(),
        arch: kernel.arch.to_string(),
        image_sha256: kernel.sha256.clone(),
    }
}

/// Many outcomes of one pair as one. Its stacks are those of the first run that shows the folded verdict or,
/// where the runs disagree, of the first that differs from the first.
fn fold(mut outcomes: Vec<Outcome>) -> Outcome {
    if outcomes.len() == 1 {
        return outcomes.remove(0);
    }
    let verdicts: Vec<_> = outcomes.iter().map(Outcome::verdict).collect();
    let folded = verdict::fold(&verdicts);
    let repeats = outcomes
        .iter()
        .map(|outcome| Repeat {
            verdict: outcome.document.verdict,
            why: outcome.document.why.clone(),
            folder: outcome.folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        })
        .collect();
    let first = outcomes[0].document.verdict;
    let telling = outcomes.iter().position(|outcome| outcome.document.verdict != first).unwrap_or(0);
    let mut outcome = outcomes.swap_remove(telling);
    outcome.document.verdict = folded.word;
    outcome.document.why = folded.why;
    outcome.document.repeats = repeats;
    outcome
}

impl Outcome {
    fn verdict(&self) -> verdict::Verdict {
        verdict::Verdict { word: self.document.verdict, why: self.document.why.clone() }
    }
}

/// Builds the userland of an architecture, unless it is there.
///
/// # Errors
/// [`RunError::Image`].
pub fn provision_userland(
    workspace: &Workspace,
    arch: Arch,
    progress: &Progress,
) -> Result<Userland, RunError> {
    Ok(Userland::provision(arch, &workspace.images(), &workspace.cache, progress)?)
}

//! Nights: every scenario on every kernel, within a deadline, into one result folder.

pub mod engine; // other hosts: GNU parallel and Slurm
pub mod history; // all nights in one SQLite file
pub mod matrix; // images/nightly.yaml
pub mod plan; // the order of pairs, and units for other hosts

mod error; // what goes wrong with a night
mod result_folder; // a night's folder
mod local; // the engine of this host

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

pub use error::{EngineError, EngineProgram, NightlyError};
pub use result_folder::ResultFolder;

use crate::durations::milliseconds;
use crate::run;
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use engine::{RemoteHosts, Sender};
use history::History;
use kshot_guest::kernel::{Catalogue, Kernel, KernelSource, KernelSpec};
use kshot_guest::progress::Progress;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{
    GitCommit, NOT_ONE_KERNEL, Night, NightKernel, NightScenario, Pair, SCHEMA,
};
use matrix::Matrix;
use plan::{DEFAULT_DURATION, QueuedPair};

/// The number of earlier nights that the report shows.
const HISTORY_NIGHTS: usize = 60;

/// The context of an invocation: everything that the engines share.
#[derive(Debug)]
pub struct NightContext<'a> {
    /// The repository and the cache.
    pub workspace: &'a Workspace,
    /// The scenarios of the matrix, each run on those of its kernels that the matrix names.
    pub scenarios: Vec<Scenario>,
    /// The provisioned kernels of the matrix, by name.
    pub kernels: HashMap<String, Kernel>,
    /// The progress display.
    pub progress: &'a Progress,
    /// The number of runs of each pair.
    pub repeat: u32,
}

/// The time limit of an invocation.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The start of the invocation.
    pub began: Instant,
    /// The time limit.
    pub deadline: Option<Duration>,
}

/// Where the runs are executed.
#[derive(Clone, Debug)]
pub enum Engine {
    /// On this host.
    Local {
        /// The number of parallel runs.
        jobs: usize,
    },
    /// On other hosts.
    Hosts(RemoteHosts),
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Everything that could be run was run.
    Done,
    /// Interrupted by Ctrl-C.
    Interrupted,
}

impl Engine {
    /// The engine's name in the results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local { .. } => "local",
            Self::Hosts(RemoteHosts { sender: Sender::Parallel(_), .. }) => "parallel",
            Self::Hosts(RemoteHosts { sender: Sender::Slurm, .. }) => "slurm",
        }
    }
}

impl TimeLimit {
    /// The time that is left.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_sub(self.began.elapsed()))
    }
}

/// Plans a new night over the matrix.
///
/// # Errors
/// A scenario or snapshot that cannot be read.
pub fn plan_night(
    context: &NightContext<'_>,
    catalogue: &Catalogue,
    matrix: &Matrix,
    engine: &Engine,
) -> Result<Night, NightlyError> {
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut pairs = Vec::new();
    for scenario in &context.scenarios {
        let kernels = catalogue.matching(scenario.kernels.iter().map(String::as_str));
        for entry in kernels.iter().filter(|entry| matrix.kernels.contains(&entry.name)) {
            pairs.push(Pair {
                scenario: scenario.id.clone(),
                kernel: entry.name.clone(),
                inputs_hash: run::inputs_hash(context.workspace, scenario, &entry.name)?,
                attempts: Vec::new(),
            });
        }
    }
    let entries: Vec<&KernelSpec> = matrix.kernels.iter().filter_map(|name| catalogue.get(name)).collect();
    let (used, idle): (Vec<&KernelSpec>, Vec<&KernelSpec>) =
        entries.into_iter().partition(|entry| pairs.iter().any(|pair| pair.kernel == entry.name));
    let images = context.workspace.repository.join("images");
    let kernels = used.into_iter().map(|entry| NightKernel {
        name: entry.name.clone(),
        origin: kernel_origin(entry, &images),
        git: git_commit(entry, &images),
        // Other hosts find out themselves which kernels they have.
        absent: (matches!(engine, Engine::Local { .. }) && !context.kernels.contains_key(&entry.name))
            .then(|| format!("not provisioned: {}", entry.how_to_get())),
    });
    let judged = |id: &str| pairs.iter().any(|pair| pair.scenario == id);
    let scenarios = context.scenarios.iter().filter(|scenario| judged(&scenario.id));
    let scenarios = scenarios.map(|one| NightScenario { id: one.id.clone(), summary: one.summary.clone() });
    let idle: Vec<&str> = idle.into_iter().map(|entry| entry.name.as_str()).collect();
    let notes = (!idle.is_empty()).then(|| format!("no scenario is meant for {}", idle.join(", ")));
    Ok(Night {
        schema: SCHEMA,
        name: night_name(&started),
        started,
        wall_ms: 0,
        deadline_ms: matrix.deadline.map(milliseconds),
        engine: engine.name().into(),
        harness: kshot_version(),
        kernels: kernels.collect(),
        scenarios: scenarios.collect(),
        pairs,
        notes: notes.into_iter().collect(),
        changes: Vec::new(),
    })
}

/// The name of a night: of two that begin in the same second on this host, each has its own.
fn night_name(started: &str) -> String {
    format!("{}-{}", started.replace([':', '-'], ""), std::process::id())
}

/// Runs one invocation: all pairs that are open. Each result is written as soon as it is there.
///
/// # Errors
/// The result folder or the history cannot be used, or the engine cannot. A fault of a single run is a
/// result.
pub fn run_night(
    context: &NightContext<'_>,
    history: &History,
    folder: &ResultFolder,
    night: &mut Night,
    engine: &Engine,
    limits: TimeLimit,
) -> Result<Completion, NightlyError> {
    let before = night.wall_ms;
    folder.write(night)?;
    let queue = queue_open_pairs(context, history, night)?;
    let end = match engine {
        Engine::Local { jobs } => local::run(context, folder, night, queue, *jobs, limits)?,
        Engine::Hosts(hosts) => engine::run(context, folder, night, queue, hosts, limits)?,
    };
    night.wall_ms = before + milliseconds(limits.began.elapsed());
    Ok(end)
}

/// Removes the notes that [`close`] made at the end of an earlier invocation: what they say may have been mended
/// since, and it makes them anew.
pub fn forget_notes_of_end(night: &mut Night) {
    night.notes.retain(|note| {
        !note.starts_with(history::WITHOUT_PAST)
            && !note.contains(result_folder::NOT_COMPARED)
            && !note.contains(NOT_ONE_KERNEL)
    });
}

/// Compares the night with those before, and writes it into the history and the folder. Returns what its
/// reports are made from.
///
/// # Errors
/// [`NightlyError`].
pub fn close(
    history: &mut History,
    folder: &ResultFolder,
    mut night: Night,
) -> Result<NightReport, NightlyError> {
    let (documents, lost) = folder.documents(&night);
    let unlike = night.unlike_kernels();
    lost.into_iter().chain(unlike).for_each(|note| night.add_note(note));
    let mut past = HashMap::new();
    let mut unread = None;
    for pair in &night.pairs {
        match history.past_results(&pair.scenario, &pair.kernel, &night.name, HISTORY_NIGHTS) {
            Ok(nights) => drop(past.insert(pair.anchor(), nights)),
            Err(error) => unread = Some(history::without_past(&error)),
        }
    }
    unread.into_iter().for_each(|note| night.add_note(note));
    let mut report = NightReport { night, documents, past };
    report.compare();
    if let Err(error) = history.record(&report.night, |pair| report.document(pair)) {
        report.night.add_note(history::without_past(&error));
    }
    folder.write(&report.night)?;
    Ok(report)
}

/// The open pairs that can be run, with their expected durations.
fn queue_open_pairs(
    context: &NightContext<'_>,
    history: &History,
    night: &Night,
) -> Result<Vec<QueuedPair>, NightlyError> {
    let open = night.pairs.iter().enumerate().filter(|(_, pair)| pair.is_open());
    let mut found = Vec::new();
    let absent = |name: &str| night.kernels.iter().any(|one| one.name == name && one.absent.is_some());
    for (number, pair) in open.filter(|(_, pair)| !absent(&pair.kernel)) {
        // Only the order depends on it.
        let expected = history.expected(&pair.scenario, &pair.kernel).ok().flatten();
        let kernel = pair.kernel.clone();
        found.push(QueuedPair {
            pair: number,
            kernel,
            expected: expected.unwrap_or(DEFAULT_DURATION * context.repeat),
        });
    }
    Ok(plan::longest_first(found))
}

/// The kernel's source and patches, in one line. Paths of the catalogue are relative to `images`.
fn kernel_origin(entry: &KernelSpec, images: &Path) -> String {
    let version = |version: &Option<String>| version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
    let mut text = match &entry.source {
        KernelSource::DebianSource(one) => {
            format!("{}{} of {}", one.package, version(&one.version), one.suite)
        }
        KernelSource::DebianOrig(one) => {
            format!("upstream's {}{} as {} has it", one.source, version(&one.version), one.suite)
        }
        KernelSource::DebianPackage(one) => {
            format!("{}{} of {}", one.package, version(&one.version), one.suite)
        }
        KernelSource::Tarball(one) => format!("the tarball {}", images.join(&one.path).display()),
        KernelSource::Directory(one) => format!("the folder {}", images.join(&one.path).display()),
        KernelSource::Built(one) => format!("a build in {}", one.path.display()),
        KernelSource::Git(one) => format!("commit {} of {}", one.commit, images.join(&one.path).display()),
    };
    if !entry.patches.is_empty() {
        text.push_str(&format!(", with {}", entry.patches.join(", ")));
    }
    text
}

/// The commit that a kernel is built from, where it is one and no patch is put on it.
fn git_commit(entry: &KernelSpec, images: &Path) -> Option<GitCommit> {
    let KernelSource::Git(one) = &entry.source else { return None };
    let commit = GitCommit { tree: images.join(&one.path).display().to_string(), commit: one.commit.clone() };
    entry.patches.is_empty().then_some(commit)
}

/// The version of kshot and, if known, the commit that it was built from: `0.1.0 (ec7b59b0a1c2)`.
fn kshot_version() -> String {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KSHOT_COMMIT"));
    if commit.is_empty() {
        version.into()
    } else {
        format!("{version} ({})", commit.get(..12).unwrap_or(commit))
    }
}

/// The name of this host.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().to_owned() }
}

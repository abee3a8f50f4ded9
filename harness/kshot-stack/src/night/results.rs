//! The results document of a night: `results.json`.

use serde::{Deserialize, Serialize};

use crate::blame::{Blame, Blamed, error_chain};
use crate::document::{KernelInfo, Reason, RunDocument, Start, Timings, Verdict};
use crate::foreign::{Foreign, Name};

/// The version of the document's form. It grows when a reader of an older form would misread the document.
pub const SCHEMA: u32 = 2;

/// What stands between a kernel and its images, in a note that it has several.
pub const NOT_ONE_KERNEL: &str = " is not one kernel, do not compare across hosts: ";

/// One night: every scenario on every kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Night {
    /// The version of this document's form, 2.
    pub schema: u32,
    /// The night's name, its start time and the process that began it: `20261125T020000Z-4711`.
    #[serde(rename = "night")]
    pub name: String,
    /// The start time, RFC 3339.
    pub started: String,
    /// The time spent on the night, in milliseconds, summed over all invocations.
    pub wall_ms: u64,
    /// The time limit of one invocation, in milliseconds; `null` if there is none.
    pub deadline_ms: Option<u64>,
    /// Where the runs were executed: `local`, `parallel` or `slurm`.
    pub engine: String,
    /// The version of kshot, with the commit of its repository where that is known.
    pub harness: String,
    /// The kernels, in the order of the matrix's columns.
    pub kernels: Vec<NightKernel>,
    /// The scenarios, in the order of the matrix's rows.
    pub scenarios: Vec<NightScenario>,
    /// Every pair of a scenario and a kernel to be judged.
    pub pairs: Vec<Pair>,
    /// Notes on the course of the night: hosts that were excluded, results that arrived twice.
    pub notes: Vec<String>,
    /// The changes since earlier nights and the pairs that do not match, the most urgent first.
    pub changes: Vec<PairChange>,
}

/// A kernel of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NightKernel {
    /// The kernel's name in the catalogue.
    pub name: String,
    /// The kernel's source and the patches applied to it, in one line.
    pub origin: String,
    /// The commit that it is built from, where it is one and no patch is put on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitCommit>,
    /// The reason why nothing can run on this kernel: it is not provisioned. `null` otherwise.
    pub absent: Option<String>,
}

/// A commit of a kernel tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GitCommit {
    /// The folder of the tree's repository.
    pub tree: String,
    /// The commit, as the catalogue names it.
    pub commit: String,
}

/// A scenario of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NightScenario {
    /// The scenario's id.
    pub id: String,
    /// What the scenario demonstrates, in one line.
    pub summary: String,
}

/// A pair of a scenario and a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pair {
    /// The scenario's id.
    pub scenario: String,
    /// The kernel's name.
    pub kernel: String,
    /// The first 16 hexadecimal digits of a SHA-256 over the scenario and its snapshots for this kernel.
    #[serde(rename = "inputs")]
    pub inputs_hash: String,
    /// All attempts, in chronological order. A retry is appended and replaces nothing.
    #[serde(rename = "tries")]
    pub attempts: Vec<Attempt>,
}

/// One attempt to run a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Attempt {
    /// The start time of the attempt, RFC 3339.
    pub started: String,
    /// The running time of the machines in milliseconds; without a verdict, the time until the failure.
    pub wall_ms: u64,
    /// The host that executed the attempt.
    pub host: String,
    /// The run, if there was a verdict.
    pub run: Option<RunSummary>,
    /// The error that prevented a verdict, if there was one.
    #[serde(rename = "fault")]
    pub error: Option<AttemptError>,
}

/// The summary of a run with a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunSummary {
    /// The path of the run folder, relative to the result folder.
    pub folder: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons for the verdict.
    #[serde(rename = "why")]
    pub reasons: Vec<Reason>,
    /// The kernel that was booted.
    pub kernel: KernelInfo,
    /// QEMU's version.
    pub qemu: String,
    /// Whether the machine booted or was restored.
    pub start: Start,
    /// The duration of each phase, in milliseconds.
    pub timings_ms: Timings,
}

/// An error that is not the kernel's, so that nothing was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AttemptError {
    /// The party that has to act on the error.
    pub blame: Blame,
    /// The error with all its sources.
    #[serde(rename = "what")]
    pub error_chain: String,
}

/// The kind of change between two nights.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// The pair drifts and did not drift before.
    NewDrift,
    /// The repeats disagree.
    Unstable,
    /// A fault was fixed: the pair matches again, or it drifts because a known fault no longer occurs.
    Mended,
    /// The pair drifted before and still drifts.
    StillBroken,
    /// There is no verdict.
    CannotTell,
    /// The pair matches with different stacks: a new snapshot was accepted.
    Accepted,
}

/// A pair whose result changed, or that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PairChange {
    /// The scenario's id.
    pub scenario: String,
    /// The kernel's name.
    pub kernel: String,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The first night of the current series of drifts, for a pair that still drifts.
    pub since: Option<String>,
    /// The last verdict before this night, if there is one.
    #[serde(rename = "before")]
    pub previous: Option<PreviousVerdict>,
    /// Everything else that changed since then and may be the cause.
    #[serde(rename = "suspects")]
    pub possible_causes: Vec<String>,
    /// The bisect command that finds the cause, if versions or commits lie between the two kernels.
    #[serde(rename = "bisect")]
    pub bisect_command: Option<String>,
}

/// The last verdict before a night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PreviousVerdict {
    /// The name of the earlier night.
    pub night: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The kernel that was booted.
    pub kernel: KernelInfo,
    /// The origin of the kernel.
    pub origin: String,
    /// The commit that it was built from, where it was one and no patch was put on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitCommit>,
}

/// The status of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairStatus {
    /// The stacks are not what the snapshot and the claims say.
    Drift,
    /// Repeats disagree.
    Unstable,
    /// The kernel did not get far enough to be judged.
    Inconclusive,
    /// An error of kshot or of the host prevented a verdict.
    HostError,
    /// The pair has not been run.
    NotRun,
    /// The stacks are what the snapshot and the claims say, known faults included.
    Match,
}

impl PairStatus {
    /// All statuses, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Drift, Self::Unstable, Self::Inconclusive, Self::HostError, Self::NotRun, Self::Match];

    /// The status's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Unstable => "unstable",
            Self::Inconclusive => "inconclusive",
            Self::HostError => "host fault",
            Self::NotRun => "not reached",
            Self::Match => "match",
        }
    }
}

impl ChangeKind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 6] =
        [Self::NewDrift, Self::Unstable, Self::Mended, Self::StillBroken, Self::CannotTell, Self::Accepted];

    /// The kind's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewDrift => "new drift",
            Self::Unstable => "unstable",
            Self::Mended => "mended",
            Self::StillBroken => "still broken",
            Self::CannotTell => "could not tell",
            Self::Accepted => "new snapshot",
        }
    }
}

impl From<Verdict> for PairStatus {
    fn from(word: Verdict) -> Self {
        match word {
            Verdict::Match => Self::Match,
            Verdict::Drift => Self::Drift,
            Verdict::Unstable => Self::Unstable,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

impl Pair {
    /// The run that counts: the first with a verdict. No run is made after it.
    pub fn run(&self) -> Option<&RunSummary> {
        self.attempts.iter().find_map(|attempt| attempt.run.as_ref())
    }

    /// The attempt that counts: the first with a verdict, otherwise the last.
    pub fn deciding_attempt(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.run.is_some()).or(self.attempts.last())
    }

    /// The status of the pair.
    pub fn status(&self) -> PairStatus {
        match (self.run(), self.attempts.last()) {
            (Some(run), _) => run.verdict.into(),
            (None, Some(_)) => PairStatus::HostError,
            (None, None) => PairStatus::NotRun,
        }
    }

    /// Whether the pair still has to be run, because there is no verdict yet.
    pub fn is_open(&self) -> bool {
        self.run().is_none()
    }

    /// The pair's name in links and ids: `tunsetiff.leaf--mips64-6.1`.
    pub fn anchor(&self) -> String {
        anchor(&self.scenario, &self.kernel)
    }
}

/// The name of a scenario and kernel in links and ids.
pub fn anchor(scenario: &str, kernel: &str) -> String {
    format!("{}--{kernel}", scenario.replace('/', "."))
}

impl AttemptError {
    /// Records an error with its blame and its sources.
    pub fn of(error: &impl Blamed) -> Self {
        Self { blame: error.blame(), error_chain: error_chain(error) }
    }
}

impl RunSummary {
    /// The summary of a run whose folder is `folder`, relative to the result folder.
    pub fn of(document: &RunDocument, folder: String) -> Self {
        Self {
            folder,
            verdict: document.verdict,
            reasons: document.reasons.clone(),
            kernel: document.kernel.clone(),
            qemu: document.qemu.clone(),
            start: document.start,
            timings_ms: document.timings_ms,
        }
    }
}

impl Night {
    /// Notes what people should know of the night, once.
    pub fn add_note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Continues this night with the matrix as it is planned now. Existing verdicts are kept, but for those
    /// on scenarios or snapshots that have changed since. `None` if the kernels or scenarios differ.
    #[must_use]
    pub fn resume(self, planned: Self) -> Option<Self> {
        let names = |night: &Self| -> Vec<String> { night.pairs.iter().map(Pair::anchor).collect() };
        if names(&self) != names(&planned) {
            return None;
        }
        // A kernel may have been provisioned in between, and an older kshot may have begun the night.
        let Self { schema, kernels, deadline_ms, scenarios, pairs: planned, .. } = planned;
        let (mut pairs, mut notes) = (self.pairs, self.notes);
        for (pair, planned) in pairs.iter_mut().zip(planned) {
            if pair.inputs_hash != planned.inputs_hash {
                if !pair.attempts.is_empty() {
                    notes.push(format!(
                        "{}: run again, its scenario or snapshots have changed",
                        pair.anchor()
                    ));
                }
                *pair = planned;
            }
        }
        Some(Self { schema, kernels, deadline_ms, scenarios, pairs, notes, ..self })
    }

    /// The kernels that are not the same in all runs of the night, one sentence each: their results are not
    /// of one kernel, whatever its name is.
    pub fn unlike_kernels(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for NightKernel { name, .. } in &self.kernels {
            let attempts = self.pairs.iter().filter(|pair| pair.kernel == *name);
            let runs = attempts.filter_map(|pair| {
                let attempt = pair.attempts.iter().find(|attempt| attempt.run.is_some())?;
                Some((attempt.host.as_str(), &attempt.run.as_ref()?.kernel))
            });
            let mut images: Vec<(&str, &KernelInfo)> = Vec::new();
            for (host, kernel) in runs {
                if !images.iter().any(|(_, known)| known.image_sha256 == kernel.image_sha256) {
                    images.push((host, kernel));
                }
            }
            if images.len() > 1 {
                let image = |(host, kernel): &(&str, &KernelInfo)| {
                    let sha: String = kernel.image_sha256.chars().take(12).collect();
                    format!("{} ({sha}) on {host}", kernel.release)
                };
                let images: Vec<String> = images.iter().map(image).collect();
                notes.push(format!("{name}{NOT_ONE_KERNEL}{}", images.join(", ")));
            }
        }
        notes
    }

    /// The number of pairs with this status.
    pub fn count(&self, standing: PairStatus) -> usize {
        self.pairs.iter().filter(|pair| pair.status() == standing).count()
    }

    /// The reason why a pair has no verdict; `None` if it has one.
    pub fn why_no_verdict<'a>(&'a self, pair: &'a Pair) -> Option<&'a str> {
        if pair.run().is_some() {
            return None;
        }
        if let Some(error) = pair.attempts.last().and_then(|last| last.error.as_ref()) {
            return Some(&error.error_chain);
        }
        let absent = self.kernels.iter().find(|kernel| kernel.name == pair.kernel);
        let absent = absent.and_then(|kernel| kernel.absent.as_deref());
        Some(absent.unwrap_or("not run before the deadline or the end of the invocation"))
    }

    /// The pair of a scenario and a kernel, if the matrix contains it.
    pub fn pair(&self, scenario: &str, kernel: &str) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.scenario == scenario && pair.kernel == kernel)
    }
}

impl Foreign for Night {
    const WHAT: &'static str = "the results of a night";
    const SCHEMA: u32 = SCHEMA;
    const OLDEST: u32 = 1;

    fn names(&self) -> Vec<Name<'_>> {
        let mut names = vec![Name::Path(&self.name)];
        names.extend(self.kernels.iter().map(|kernel| Name::Kernel(&kernel.name)));
        names.extend(self.scenarios.iter().map(|scenario| Name::Scenario(&scenario.id)));
        for pair in &self.pairs {
            names.extend([Name::Scenario(&pair.scenario), Name::Kernel(&pair.kernel)]);
            for run in pair.attempts.iter().filter_map(|attempt| attempt.run.as_ref()) {
                names.push(Name::Path(&run.folder));
                names.extend(run.kernel.names());
            }
        }
        for change in &self.changes {
            names.extend([Name::Scenario(&change.scenario), Name::Kernel(&change.kernel)]);
            if let Some(before) = &change.previous {
                names.push(Name::Path(&before.night));
                names.extend(before.kernel.names());
            }
        }
        names
    }
}

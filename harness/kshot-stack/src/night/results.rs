//! A night's results as a document: `results.json`.

use serde::{Deserialize, Serialize};

use crate::document::{Document, KernelInfo, Reason, Start, Timings, Word};
use crate::fault::{Blame, Fault, error_chain};
use crate::foreign::{Foreign, Name};

/// The version of the document. It grows when a reader of the old one would go wrong.
pub const SCHEMA: u32 = 2;

/// One night: every scenario on every kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Night {
    /// The version of this document's form, 2.
    pub schema: u32,
    /// Its name: the time of its start, `20261125T020000Z`.
    pub night: String,
    /// The time of its start, RFC 3339.
    pub started: String,
    /// Milliseconds that it worked, all sittings together.
    pub wall_ms: u64,
    /// Milliseconds that a sitting may take, `null` where there is no limit.
    pub deadline_ms: Option<u64>,
    /// Where the runs were made: `local`, `parallel`, `slurm`.
    pub engine: String,
    /// The version of kshot, with the commit of its repository where that is known.
    pub harness: String,
    /// The kernels, in the order of the columns.
    pub kernels: Vec<KernelLine>,
    /// The scenarios, in the order of the rows.
    pub scenarios: Vec<ScenarioLine>,
    /// Each pair of them that is to be judged.
    pub pairs: Vec<Pair>,
    /// What people should know of how the night went: hosts that were taken out, results that came twice.
    pub notes: Vec<String>,
    /// What is not as it was, or not as it should be, the most pressing first.
    pub changes: Vec<Change>,
}

/// A kernel of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KernelLine {
    /// Its name in the catalogue.
    pub name: String,
    /// Where it comes from and what was done to it, in one line.
    pub origin: String,
    /// The commit that it is built from, where it is one and no patch is put on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitCommit>,
    /// Why nothing can run on it, where nothing can: it is not provisioned.
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
pub struct ScenarioLine {
    /// Its id.
    pub id: String,
    /// What it shows.
    pub summary: String,
}

/// A scenario on a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pair {
    /// The scenario's id.
    pub scenario: String,
    /// The kernel's name.
    pub kernel: String,
    /// The first 16 hexadecimal digits of a SHA-256 over the scenario and its snapshots for this kernel.
    pub inputs: String,
    /// Every attempt, in the order they were made. A retry stands behind the first and replaces nothing.
    pub tries: Vec<Try>,
}

/// One attempt at a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Try {
    /// When it began, RFC 3339.
    pub started: String,
    /// Milliseconds that its machines ran; where it came to no verdict, until it failed.
    pub wall_ms: u64,
    /// The host that made it.
    pub host: String,
    /// The run, where it came to a verdict.
    pub run: Option<RunLine>,
    /// What kept it from one, where something did.
    pub fault: Option<FaultLine>,
}

/// A run that came to a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunLine {
    /// Its folder, relative to the result folder.
    pub folder: String,
    /// The one word.
    pub verdict: Word,
    /// The reasons for it.
    pub why: Vec<Reason>,
    /// What was booted.
    pub kernel: KernelInfo,
    /// QEMU's version.
    pub qemu: String,
    /// Whether the machine booted or was restored.
    pub start: Start,
    /// Milliseconds of each phase.
    pub timings_ms: Timings,
}

/// A fault that is not the kernel's: nothing was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FaultLine {
    /// Whose it is.
    pub blame: Blame,
    /// What happened, the whole chain.
    pub what: String,
}

/// What became of a pair.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It drifts, and did not before.
    NewDrift,
    /// Its repeats disagree.
    Unstable,
    /// A fault is gone: it matches again, or it drifts because what was known no longer fails.
    Mended,
    /// It drifted before and still does.
    StillBroken,
    /// It came to no verdict.
    CannotTell,
    /// It matches, but not the stacks of before: a new snapshot was accepted.
    Accepted,
}

/// A pair that is not as it was, or not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// The scenario's id.
    pub scenario: String,
    /// The kernel's name.
    pub kernel: String,
    /// What became of it.
    pub kind: Kind,
    /// The first night of an unbroken row of drifts, for what still drifts.
    pub since: Option<String>,
    /// The last verdict before this night, where there is one.
    pub before: Option<Before>,
    /// What else is not as it was then: where the cause may lie.
    pub suspects: Vec<String>,
    /// The command that searches for the cause, where versions or commits lie between then and now.
    pub bisect: Option<String>,
}

/// The last verdict before this night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Before {
    /// The night.
    pub night: String,
    /// The word.
    pub verdict: Word,
    /// What was booted.
    pub kernel: KernelInfo,
    /// Where the kernel came from.
    pub origin: String,
    /// The commit that it was built from, where it was one and no patch was put on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitCommit>,
}

/// How a pair stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// The stacks are not what the snapshot and the claims say.
    Drift,
    /// Repeats disagree.
    Unstable,
    /// The kernel did not come far enough to be judged.
    Inconclusive,
    /// A fault of ours or of the host.
    Fault,
    /// Its turn did not come.
    NotReached,
    /// The stacks are what they should be.
    Match,
}

impl Standing {
    /// Every standing, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Drift, Self::Unstable, Self::Inconclusive, Self::Fault, Self::NotReached, Self::Match];

    /// The word for it, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Unstable => "unstable",
            Self::Inconclusive => "inconclusive",
            Self::Fault => "host fault",
            Self::NotReached => "not reached",
            Self::Match => "match",
        }
    }
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 6] =
        [Self::NewDrift, Self::Unstable, Self::Mended, Self::StillBroken, Self::CannotTell, Self::Accepted];

    /// For people.
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

impl From<Word> for Standing {
    fn from(word: Word) -> Self {
        match word {
            Word::Match => Self::Match,
            Word::Drift => Self::Drift,
            Word::Unstable => Self::Unstable,
            Word::Inconclusive => Self::Inconclusive,
        }
    }
}

impl Pair {
    /// The run that counts: the first that came to a verdict. No later one is ever made.
    pub fn run(&self) -> Option<&RunLine> {
        self.tries.iter().find_map(|attempt| attempt.run.as_ref())
    }

    /// The attempt that counts: the first with a verdict, or else the last.
    pub fn telling(&self) -> Option<&Try> {
        self.tries.iter().find(|attempt| attempt.run.is_some()).or(self.tries.last())
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match (self.run(), self.tries.last()) {
            (Some(run), _) => run.verdict.into(),
            (None, Some(_)) => Standing::Fault,
            (None, None) => Standing::NotReached,
        }
    }

    /// Whether it still has to be run: it has no verdict yet.
    pub fn open(&self) -> bool {
        self.run().is_none()
    }

    /// Its name in links and ids: `tunsetiff.leaf--mips64-6.1`.
    pub fn anchor(&self) -> String {
        anchor(&self.scenario, &self.kernel)
    }
}

/// The name of a pair in links and ids.
pub fn anchor(scenario: &str, kernel: &str) -> String {
    format!("{}--{kernel}", scenario.replace('/', "."))
}

impl FaultLine {
    /// What a night writes down of an error.
    pub fn of(error: &impl Fault) -> Self {
        Self { blame: error.blame(), what: error_chain(error) }
    }
}

impl RunLine {
    /// The line of a run whose folder is `folder` in the result folder.
    pub fn of(document: &Document, folder: String) -> Self {
        Self {
            folder,
            verdict: document.verdict,
            why: document.why.clone(),
            kernel: document.kernel.clone(),
            qemu: document.qemu.clone(),
            start: document.start,
            timings_ms: document.timings_ms,
        }
    }
}

impl Night {
    /// This night, begun before, over the matrix as it is `planned` now: what has a verdict keeps it.
    /// `None` where the kernels or scenarios are others.
    #[must_use]
    pub fn resume(self, planned: Self) -> Option<Self> {
        let names = |night: &Self| -> Vec<String> { night.pairs.iter().map(Pair::anchor).collect() };
        if names(&self) != names(&planned) {
            return None;
        }
        // A kernel may have been provisioned in between, and an older kshot may have begun the night.
        let Self { schema, kernels, deadline_ms, .. } = planned;
        Some(Self { schema, kernels, deadline_ms, ..self })
    }

    /// How many pairs stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.pairs.iter().filter(|pair| pair.standing() == standing).count()
    }

    /// What kept a pair from a verdict, for people; nothing where it has one.
    pub fn obstacle<'a>(&'a self, pair: &'a Pair) -> Option<&'a str> {
        if pair.run().is_some() {
            return None;
        }
        if let Some(fault) = pair.tries.last().and_then(|last| last.fault.as_ref()) {
            return Some(&fault.what);
        }
        let absent = self.kernels.iter().find(|kernel| kernel.name == pair.kernel);
        let absent = absent.and_then(|kernel| kernel.absent.as_deref());
        Some(absent.unwrap_or("its turn did not come: the deadline, or the end of the sitting, was first"))
    }

    /// The pair of a scenario and a kernel, where the matrix has it.
    pub fn pair(&self, scenario: &str, kernel: &str) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.scenario == scenario && pair.kernel == kernel)
    }
}

impl Foreign for Night {
    const WHAT: &'static str = "the results of a night";
    const SCHEMA: u32 = SCHEMA;
    const OLDEST: u32 = 1;

    fn names(&self) -> Vec<Name<'_>> {
        let mut names = vec![Name::Path(&self.night)];
        names.extend(self.kernels.iter().map(|kernel| Name::Kernel(&kernel.name)));
        names.extend(self.scenarios.iter().map(|scenario| Name::Scenario(&scenario.id)));
        for pair in &self.pairs {
            names.extend([Name::Scenario(&pair.scenario), Name::Kernel(&pair.kernel)]);
            for run in pair.tries.iter().filter_map(|attempt| attempt.run.as_ref()) {
                names.push(Name::Path(&run.folder));
                names.extend(run.kernel.names());
            }
        }
        for change in &self.changes {
            names.extend([Name::Scenario(&change.scenario), Name::Kernel(&change.kernel)]);
            if let Some(before) = &change.before {
                names.push(Name::Path(&before.night));
                names.extend(before.kernel.names());
            }
        }
        names
    }
}

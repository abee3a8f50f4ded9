//! The result document: what `kshot run --format json` prints and `run.json` holds.

mod reason;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use reason::{ClaimFailure, NearestStack, Reason, StackEnd, VerdictCount};

use crate::foreign::{Foreign, Name};
use crate::stack::{State, Warning};

/// The version of the document. It grows when a reader of the old one would go wrong.
pub const SCHEMA: u32 = 2;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Document {
    /// The version of this document's form, 2. Documents of version 1 read the same; they do not tell of frames that a
    /// stack has besides those of its reference.
    pub schema: u32,
    /// The scenario's id.
    pub scenario: String,
    /// What was, or would have been, booted.
    pub kernel: KernelInfo,
    /// QEMU's version, as it says itself; empty where it did not come so far.
    pub qemu: String,
    /// The one word.
    pub verdict: Word,
    /// The reasons for it.
    pub why: Vec<Reason>,
    /// Whether the machine booted or was restored.
    pub start: Start,
    /// Why it booted, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_because: Option<String>,
    /// Milliseconds of each phase.
    pub timings_ms: Timings,
    /// What each probe recorded.
    pub probes: Vec<ProbeResult>,
    /// The verdicts of the single runs, where there was more than one; `probes` is that of the first run with
    /// the verdict, or of the first that disagrees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Repeat>,
    /// Trouble that the kernel reported on its console.
    pub console: Vec<ConsoleEvent>,
    /// The run folder's files: name to path, relative to the folder.
    pub artifacts: BTreeMap<String, String>,
}

impl Document {
    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }
}

impl Foreign for Document {
    const WHAT: &'static str = "a result document";
    const SCHEMA: u32 = SCHEMA;
    const OLDEST: u32 = 1;

    fn names(&self) -> Vec<Name<'_>> {
        let mut names = vec![Name::Scenario(&self.scenario)];
        names.extend(self.kernel.names());
        names.extend(self.artifacts.values().map(|path| Name::Path(path)));
        names.extend(self.repeats.iter().map(|repeat| Name::Path(&repeat.folder)));
        names
    }
}

/// The kernel of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KernelInfo {
    /// The name in the catalogue.
    pub name: String,
    /// `uname -r`.
    pub release: String,
    /// The architecture's name.
    pub arch: String,
    /// SHA-256 of the booted image, in hexadecimal.
    pub image_sha256: String,
}

impl KernelInfo {
    /// What in it becomes a path or a word of a command line.
    pub fn names(&self) -> [Name<'_>; 2] {
        [Name::Kernel(&self.name), Name::Release(&self.release)]
    }
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The stacks are what the snapshot and the claims say.
    Match,
    /// They are not.
    Drift,
    /// Repeats disagree.
    Unstable,
    /// It cannot be told.
    Inconclusive,
}

impl Word {
    /// The word itself, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Drift => "drift",
            Self::Unstable => "unstable",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// One of several runs of the same pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Repeat {
    /// Its verdict.
    pub verdict: Word,
    /// The reasons.
    pub why: Vec<Reason>,
    /// The name of its run folder.
    pub folder: String,
    /// How its machine came up.
    #[serde(default)]
    pub start: Start,
    /// Why it booted, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_because: Option<String>,
}

/// How a machine came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// It booted.
    #[default]
    Cold,
    /// It was restored from a saved state.
    Warm,
}

impl Start {
    /// The word itself, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Milliseconds of each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Timings {
    /// From QEMU's start to the guest's ready line or, of a restored one, until it ran.
    pub boot: u64,
    /// From there to a logged-in session.
    pub ssh: u64,
    /// Arming and steps; of a machine that was booted, with getting the probes ready, which a saved state holds.
    pub steps: u64,
    /// Stopping and fetching.
    pub collect: u64,
    /// From QEMU's start to its end; where a state was saved, with that.
    pub total: u64,
}

/// What one probe recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeResult {
    /// The probe's name.
    pub name: String,
    /// The mechanism.
    pub kind: String,
    /// How many events it recorded, with or without a stack.
    pub events: u64,
    /// How many the kernel lost.
    pub lost: u64,
    /// What its parser could not read.
    pub warnings: Vec<Warning>,
    /// Why it was left out on this kernel, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// Equal stacks once, in the order of their first appearance.
    pub stacks: Vec<StackResult>,
    /// What kprobe events fetched, equal ones once, in the order of their first appearance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ArgumentsResult>,
}

/// Equal values that a kprobe event fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ArgumentsResult {
    /// How many there were.
    pub count: u64,
    /// The event.
    pub event: String,
    /// The arguments as the kernel prints them: `nr_entries=0 skip=5`.
    pub text: String,
}

/// Equal stacks of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StackResult {
    /// How many there were.
    pub count: u64,
    /// The task's name.
    pub task: String,
    /// The event.
    pub event: String,
    /// Function names, from the innermost outwards.
    pub frames: Vec<String>,
    /// How it ends.
    pub state: State,
    /// The last kernel frame, `null` for a stack without frames.
    pub ends_at: Option<String>,
    /// How much of the truth it holds, `null` where there is nothing to compare with.
    pub fidelity: Option<Fidelity>,
    /// The frames that are missing, extra or repeated beside those of the reference, from the innermost outwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

impl StackResult {
    /// How it ends, for people: `truncated at ftrace_graph_call`.
    pub fn ending(&self) -> String {
        let at = self.ends_at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        format!("{}{at}", self.state.name())
    }

    /// The frames that the stack should not have, for people: `extra: f behind g; repeated: register_netdevice,
    /// innermost`. `None` where there are none.
    pub fn excess(&self) -> Option<String> {
        let excess = self.differences.iter().filter(|difference| difference.deviation != Deviation::Missing);
        let words: Vec<String> = excess.map(|difference| difference.in_words(&self.frames)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// A frame by which a stack differs from its reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Difference {
    /// In which way.
    pub deviation: Deviation,
    /// The function.
    pub frame: String,
    /// Where it stands in `frames`, from 0; for a missing one, which frame it should stand before.
    pub at: u64,
}

/// How a frame differs from what the reference has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deviation {
    /// The reference has it, the stack has not.
    Missing,
    /// The stack has it, the reference has not.
    Extra,
    /// The stack has it more often than the reference.
    Repeated,
}

impl Deviation {
    /// The word itself, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Repeated => "repeated",
        }
    }
}

impl Difference {
    /// What it is and where, in a stack of these frames: `missing: sys_ioctl before handle_sys`.
    pub fn in_words(&self, frames: &[String]) -> String {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let place = match (self.deviation, at.checked_sub(1).and_then(|before| frames.get(before))) {
            (Deviation::Missing, _) => {
                frames.get(at).map_or_else(|| " at the end".into(), |next| format!(" before {next}"))
            }
            (_, Some(before)) => format!(" behind {before}"),
            (_, None) => ", innermost".into(),
        };
        format!("{}: {}{place}", self.deviation.name(), self.frame)
    }
}

/// How many of the reference's physical frames a stack reports, in order, and how many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fidelity {
    /// The frames of the reference.
    pub of: u64,
    /// The frames of the reference that the stack holds too.
    pub got: u64,
    /// The frames of the stack that the reference has not, also behind its entry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub extra: u64,
    /// The frames of the reference that the stack holds once more than it should.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// Whose stack the reference is.
    pub reference: Reference,
}

/// Who gave the stack to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// gdb, from outside, with DWARF: the truth.
    Gdb,
    /// perf, standing in for it.
    Perf,
}

impl Reference {
    /// The mechanism's word, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gdb => "gdb",
            Self::Perf => "perf",
        }
    }
}

impl Fidelity {
    /// That of a stack without extra and repeated frames.
    pub fn new(of: u64, got: u64, reference: Reference) -> Self {
        Self { of, got, extra: 0, repeated: 0, reference }
    }

    /// How many frames the stack has that the reference has not, or not so often.
    pub fn excess(&self) -> u64 {
        self.extra + self.repeated
    }
}

impl std::fmt::Display for Fidelity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.got, self.of)?;
        for (count, deviation) in [(self.extra, Deviation::Extra), (self.repeated, Deviation::Repeated)] {
            if count > 0 {
                write!(f, ", {count} {}", deviation.name())?;
            }
        }
        write!(f, " ({})", self.reference.name())
    }
}

/// Something the kernel reported on its console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConsoleEvent {
    /// Which pattern it matched (`warn`, `oops`, `panic`).
    pub kind: String,
    /// The line that matched, escaped.
    pub line: String,
    /// The lines around it, escaped.
    pub excerpt: Vec<String>,
    /// The functions of its call trace, from the innermost outwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// The functions of the same trace that the kernel prints with a `?`: addresses on the stack that it did not unwind
    /// through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guesses: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

//! The result document: what `kshot run --format json` prints and `run.json` holds.

mod reason; // the reasons for a verdict

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use reason::{ClaimFailure, EndCount, NearestStack, Reason, VerdictCount};

use crate::foreign::{Foreign, Name};
use crate::stack::{State, Warning};

/// The version of the result document's form. It grows when a reader of an older form would misread the
/// document.
pub const SCHEMA: u32 = 2;

/// The result document of one run.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunDocument {
    /// The version of this document's form, 2. Documents of version 1 read the same; they do not tell of
    /// frames that a stack has besides those of its reference.
    pub schema: u32,
    /// The scenario's id.
    pub scenario: String,
    /// The kernel that was booted, or would have been.
    pub kernel: KernelInfo,
    /// QEMU's version as QEMU reports it; empty if the run failed before QEMU started.
    pub qemu: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons for it.
    #[serde(rename = "why")]
    pub reasons: Vec<Reason>,
    /// Whether the machine booted or was restored.
    pub start: Start,
    /// The reason for a cold start, if the machine booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_because: Option<String>,
    /// The duration of each phase, in milliseconds.
    pub timings_ms: Timings,
    /// The result of each probe, in the scenario's order.
    pub probes: Vec<ProbeResult>,
    /// The verdict of each repeat, if there was more than one. `probes` is then the result of the first run
    /// with the overall verdict, or of the first run that disagrees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<RepeatResult>,
    /// The problems that the kernel reported on its console.
    pub console: Vec<ConsoleReport>,
    /// The run folder's files: name to path, relative to the folder.
    pub artifacts: BTreeMap<String, String>,
}

impl RunDocument {
    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }
}

impl Foreign for RunDocument {
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
    /// The kernel's name in the catalogue.
    pub name: String,
    /// The kernel release, as `uname -r` prints it.
    pub release: String,
    /// The architecture's name.
    pub arch: String,
    /// SHA-256 of the booted image, in hexadecimal.
    pub image_sha256: String,
    /// The version of the package that the kernel came from, as far as it came from one. Two versions may
    /// have one release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
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
pub enum Verdict {
    /// The stacks are what the snapshot and the claims say.
    Match,
    /// The stacks are not what the snapshot and the claims say.
    Drift,
    /// Repeats disagree.
    Unstable,
    /// The run does not allow a verdict.
    Inconclusive,
}

impl Verdict {
    /// The verdict's name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Drift => "drift",
            Self::Unstable => "unstable",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// One of several runs of the same scenario and kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RepeatResult {
    /// The verdict of this run.
    pub verdict: Verdict,
    /// The reasons for this run's verdict.
    #[serde(rename = "why")]
    pub reasons: Vec<Reason>,
    /// The name of its run folder.
    pub folder: String,
    /// How this run's machine was started.
    #[serde(default)]
    pub start: Start,
    /// The reason for a cold start, if this run's machine booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_because: Option<String>,
}

/// How a machine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The machine booted.
    #[default]
    Cold,
    /// The machine was restored from a saved state.
    Warm,
}

impl Start {
    /// The start's name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// The duration of each phase of a run, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Timings {
    /// From QEMU's start to the guest's ready line or, for a restored machine, until it runs.
    pub boot: u64,
    /// From the ready line to a logged-in SSH session.
    pub ssh: u64,
    /// Arming the probes and running the steps. After a boot this includes preparing the probes, which a
    /// saved state already contains.
    pub steps: u64,
    /// Stopping the probes and fetching their captures.
    pub collect: u64,
    /// From QEMU's start to its end, including the time to save a state.
    pub total: u64,
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeResult {
    /// The probe's name.
    pub name: String,
    /// The tracing mechanism: `ftrace`, `kprobe`, `perf`, `text`, or `gdb` for the truth.
    pub kind: String,
    /// The number of recorded events, with or without a stack.
    pub events: u64,
    /// The number of events that the kernel lost.
    pub lost: u64,
    /// The lines that the parser could not read, counted by kind.
    pub warnings: Vec<Warning>,
    /// The reason why the probe was left out on this kernel, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "absent")]
    pub left_out_because: Option<String>,
    /// The recorded stacks. Equal stacks appear once, in the order of their first appearance.
    pub stacks: Vec<StackResult>,
    /// The values that kprobe events fetched. Equal values appear once, in the order of their first
    /// appearance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<FetchedResult>,
}

impl ProbeResult {
    /// Whether it is the truth, read from outside of the kernel.
    pub fn is_truth(&self) -> bool {
        self.kind == ReferenceKind::Gdb.name()
    }

    /// Whether the probe recorded: it was not left out on this kernel.
    pub fn was_recorded(&self) -> bool {
        self.left_out_because.is_none()
    }
}

/// A set of equal values that a kprobe event fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FetchedResult {
    /// The number of equal values.
    pub count: u64,
    /// The event's name.
    pub event: String,
    /// The arguments as the kernel prints them: `nr_entries=0 skip=5`.
    pub text: String,
}

/// A set of equal stacks of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StackResult {
    /// The number of equal stacks.
    pub count: u64,
    /// The task's name.
    pub task: String,
    /// The event's name.
    pub event: String,
    /// Function names, from the innermost outwards.
    pub frames: Vec<String>,
    /// How the stack ends: `complete`, `truncated`, `empty` or `corrupt`.
    pub state: State,
    /// The outermost kernel frame, `null` for a stack without frames.
    pub ends_at: Option<String>,
    /// How much of the reference the stack holds, `null` if there is no reference.
    pub fidelity: Option<Fidelity>,
    /// The frames that are missing, extra or repeated beside those of the reference, from the innermost
    /// outwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<FrameDifference>,
}

impl StackResult {
    /// A description of the stack's end: `truncated at ftrace_graph_call`.
    pub fn end_description(&self) -> String {
        let at = self.ends_at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        format!("{}{at}", self.state.name())
    }

    /// The frames that the stack should not have, for people: `extra: f behind g; repeated:
    /// register_netdevice, innermost`. `None` where there are none.
    pub fn excess(&self) -> Option<String> {
        self.describe_differences(|deviation| deviation != Deviation::Missing)
    }

    /// The frames of the reference that the stack lacks, for people: `missing: f before g`. `None` where
    /// there are none.
    pub fn gaps(&self) -> Option<String> {
        self.describe_differences(|deviation| deviation == Deviation::Missing)
    }

    fn describe_differences(&self, wanted: impl Fn(Deviation) -> bool) -> Option<String> {
        let differences = self.differences.iter().filter(|difference| wanted(difference.deviation));
        let words: Vec<String> = differences.map(|difference| difference.description(&self.frames)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// A frame by which a stack differs from its reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FrameDifference {
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

impl FrameDifference {
    /// What it is and where, in a stack of these frames: `missing: sys_ioctl before handle_sys`.
    pub fn description(&self, frames: &[String]) -> String {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let position = match (self.deviation, at.checked_sub(1).and_then(|before| frames.get(before))) {
            (Deviation::Missing, _) => {
                frames.get(at).map_or_else(|| " at the end".into(), |next| format!(" before {next}"))
            }
            (_, Some(before)) => format!(" behind {before}"),
            (_, None) => ", innermost".into(),
        };
        format!("{}: {}{position}", self.deviation.name(), self.frame)
    }
}

/// How many of the reference's physical frames a stack reports, in order, and how many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fidelity {
    /// The number of frames in the reference.
    #[serde(rename = "of")]
    pub reference_frames: u64,
    /// The frames of the reference that the stack holds too.
    #[serde(rename = "got")]
    pub matched_frames: u64,
    /// The frames of the stack that the reference has not, also behind its entry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub extra: u64,
    /// The frames of the reference that the stack holds once more than it should.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// The mechanism that recorded the reference.
    pub reference: ReferenceKind,
}

/// The mechanism that recorded a reference stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceKind {
    /// The truth: a breakpoint through QEMU's gdb stub, unwound from outside with DWARF.
    Gdb,
    /// perf, used as the reference when there is no truth.
    Perf,
}

impl ReferenceKind {
    /// The mechanism's name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gdb => "gdb",
            Self::Perf => "perf",
        }
    }
}

impl Fidelity {
    /// That of a stack without extra and repeated frames.
    pub fn new(of: u64, got: u64, reference: ReferenceKind) -> Self {
        Self { reference_frames: of, matched_frames: got, extra: 0, repeated: 0, reference }
    }

    /// How many frames the stack has that the reference has not, or not so often.
    pub fn excess(&self) -> u64 {
        self.extra + self.repeated
    }
}

impl std::fmt::Display for Fidelity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.matched_frames, self.reference_frames)?;
        for (count, deviation) in [(self.extra, Deviation::Extra), (self.repeated, Deviation::Repeated)] {
            if count > 0 {
                write!(f, ", {count} {}", deviation.name())?;
            }
        }
        write!(f, " ({})", self.reference.name())
    }
}

/// A problem that the kernel reported on its console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConsoleReport {
    /// The kind of report: the `kind` of a pattern in `patterns.yaml`, as `warn`, `oops` or `panic`.
    pub kind: String,
    /// The first line of the report, with control characters escaped.
    pub line: String,
    /// The lines around it, with control characters escaped.
    pub excerpt: Vec<String>,
    /// The functions of its call trace, from the innermost outwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// The functions of the same trace that the kernel prints with a `?`: addresses on the stack that it did
    /// not unwind through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guesses: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

//! The reasons for a verdict. Their `Display` is the sentence for people.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Start, Verdict};
use crate::text::count_noun;

/// One reason for a verdict, or something else worth knowing about the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", remote = "Self")]
pub enum Reason {
    /// No snapshot of a probe is on file.
    NoSnapshot {
        /// The probe's name.
        probe: String,
    },
    /// The stacks of a probe are not those of its snapshot.
    SnapshotDiffers {
        /// The probe's name.
        probe: String,
        /// The unified diff from the snapshot to the run.
        diff: String,
    },
    /// A claim fails, and is known to.
    KnownFault {
        /// The claim's name.
        claim: String,
        /// The cause, as the scenario's `known` gives it.
        because: String,
    },
    /// A claim holds that was known to fail.
    KnownFaultGone {
        /// The claim's name.
        claim: String,
        /// The cause, as the scenario's `known` gives it.
        because: String,
    },
    /// A claim fails.
    ClaimFails {
        /// The claim's name.
        claim: String,
        /// How it fails.
        failure: ClaimFailure,
    },
    /// The probe that a claim is about recorded nothing.
    NoProbe {
        /// The claim's name.
        claim: String,
        /// The probe's name.
        probe: String,
    },
    /// A claim asks for exact or whole stacks, and one of them has no reference.
    NoReference {
        /// The claim's name.
        claim: String,
    },
    /// A claim asks for stacks that are not there, and the kernel lost entries of the probe.
    ClaimUndecided {
        /// The claim's name.
        claim: String,
        /// The probe's name.
        probe: String,
    },
    /// The stacks of a probe are not those of its snapshot, and the kernel lost entries of the probe.
    SnapshotUndecided {
        /// The probe's name.
        probe: String,
    },
    /// A probe could not be used on this kernel.
    LeftOut {
        /// The probe's name.
        probe: String,
        /// Why not.
        because: String,
    },
    /// The kernel lost entries of a probe.
    Lost {
        /// The probe's name.
        probe: String,
        /// How many entries.
        entries: u64,
    },
    /// A parser could not read all that a probe left.
    Unreadable {
        /// The probe's name.
        probe: String,
        /// The kind of the parser's warning.
        warning: String,
        /// How often.
        count: u64,
        /// The first such line.
        example: String,
    },
    /// There was no run to judge.
    NoRun {},
    /// The repeats have different verdicts.
    RunsDisagree {
        /// How many runs have each verdict.
        verdicts: Vec<VerdictCount>,
    },
    /// The stacks of a probe differ between two runs.
    StacksDiffer {
        /// The probe's name.
        probe: String,
        /// How the machines of the two runs came up.
        starts: [Start; 2],
    },
    /// No run of several started from a saved state.
    NoWarmStart {
        /// Why not, where that is known.
        because: Option<String>,
    },
    /// The guest failed before its stacks could be judged.
    GuestFailed {
        /// The error and its causes.
        error: String,
    },
    /// The sentence of a document of version 1.
    Text {
        /// The sentence.
        text: String,
    },
}

/// How a claim fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClaimFailure {
    /// No stack passes through the claim's functions.
    NoWitness {
        /// The probe's name.
        probe: String,
        /// How many stacks it recorded.
        stacks: u64,
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// Where its stacks end, the first few.
        ends: Vec<EndCount>,
        /// The stack that comes nearest, where one passes through some of the functions.
        nearest: Option<Box<NearestStack>>,
    },
    /// Too many or too few stacks pass through the claim's functions.
    WrongCount {
        /// How many do.
        found: u64,
        /// How many have to.
        wanted: u64,
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// Where the probe's stacks end, the first few.
        ends: Vec<EndCount>,
    },
    /// A stack passes through the claim's functions and ends before any entry.
    Incomplete {
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// The stack's last frame, `null` for an empty stack.
        ends_at: Option<String>,
    },
    /// A stack passes through the claim's functions and is corrupt.
    Corrupt {
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// The stack's last frame.
        ends_at: String,
    },
    /// A stack passes through the claim's functions and has frames that the reference has not.
    NotExact {
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// The frames and where they stand, for people.
        excess: String,
    },
    /// A stack passes through the claim's functions and lacks frames that the reference has.
    NotWhole {
        /// The claim's functions, innermost first.
        through: Vec<String>,
        /// The frames and where they are missing, for people.
        gaps: String,
    },
    /// The console reports what it must not.
    Console {
        /// Which pattern the report matched (`warn`, `oops`, `panic`).
        report: String,
        /// The line that matched.
        line: String,
    },
}

/// Stacks of one last frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EndCount {
    /// The last frame, `null` for empty stacks.
    pub at: Option<String>,
    /// How many stacks.
    pub count: u64,
}

/// The stack that passes through most of a claim's functions, though not through all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NearestStack {
    /// The last function that it passes through.
    pub last: String,
    /// The function that it lacks behind that.
    pub next: String,
    /// Its innermost frames.
    pub frames: Vec<String>,
    /// Whether it has more frames.
    pub more: bool,
}

/// How many runs have a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VerdictCount {
    /// The verdict.
    pub verdict: Verdict,
    /// How many runs.
    pub runs: u64,
}

impl Reason {
    /// The first line of the sentence; a diff or a log follows it.
    pub fn headline(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// The whole sentence and what follows it, indented, to stand below a heading.
    pub fn indented(&self) -> String {
        format!("  {}", self.to_string().replace('\n', "\n  "))
    }

    /// Whether it is a claim that fails as the scenario's `known` says.
    pub fn is_known_fault(&self) -> bool {
        matches!(self, Self::KnownFault { .. })
    }

    /// The sentences of many reasons, with `separator` between them.
    pub fn join(reasons: &[Self], separator: &str) -> String {
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSnapshot { probe } => {
                write!(
                    f,
                    "no snapshot on file for `{probe}`: `kshot record` shows its stacks and proposes one"
                )
            }
            Self::SnapshotDiffers { probe, diff } => {
                write!(f, "the stacks of `{probe}` differ from its snapshot:\n{diff}")
            }
            Self::KnownFault { claim, because } => write!(f, "claim `{claim}` fails, as known: {because}"),
            Self::KnownFaultGone { claim, because } => {
                write!(f, "claim `{claim}` holds, but is known to fail ({because}); remove it from `known`")
            }
            Self::ClaimFails { claim, failure } => write!(f, "claim `{claim}` fails: {failure}"),
            Self::NoProbe { claim, probe } => {
                write!(f, "claim `{claim}`: there is no result of the probe `{probe}`")
            }
            Self::NoReference { claim } => {
                write!(f, "claim `{claim}` cannot be judged: a stack has no reference to compare it with")
            }
            Self::ClaimUndecided { claim, probe } => {
                write!(
                    f,
                    "claim `{claim}` cannot be judged: what it asks for may be among what `{probe}` lost"
                )
            }
            Self::SnapshotUndecided { probe } => {
                write!(f, "the stacks of `{probe}` cannot be compared with its snapshot: some were lost")
            }
            Self::LeftOut { probe, because } => {
                write!(f, "`{probe}` was left out, so its claims are not judged: {because}")
            }
            Self::Lost { probe, entries } => {
                write!(f, "`{probe}` lost {}, so its counts are too low", count_noun(*entries, "entry"))
            }
            Self::Unreadable { probe, warning, count, example } => {
                write!(f, "`{probe}`: {count} x {warning}, first: {example}")
            }
            Self::NoRun {} => f.write_str("there was no run"),
            Self::RunsDisagree { verdicts } => {
                let all: u64 = verdicts.iter().map(|one| one.runs).sum();
                let each = verdicts.iter().map(|one| format!("{} in {}", one.verdict.name(), one.runs));
                write!(f, "{all} runs disagree: {}", each.collect::<Vec<_>>().join(", "))
            }
            Self::StacksDiffer { probe, starts: [one, other] } if one == other => {
                write!(f, "the stacks of `{probe}` differ between two runs")
            }
            Self::StacksDiffer { probe, starts: [one, other] } => {
                let (one, other) = (one.name(), other.name());
                write!(f, "the stacks of `{probe}` differ between a {one} and a {other} start")
            }
            Self::NoWarmStart { because } => {
                write!(f, "not compared with a warm start: {}", because.as_deref().unwrap_or("none ran"))
            }
            Self::GuestFailed { error: text } | Self::Text { text } => f.write_str(text),
        }
    }
}

impl ClaimFailure {
    /// Whether stacks are missing, which may be among entries that the kernel lost.
    pub(crate) fn is_lack(&self) -> bool {
        match self {
            Self::NoWitness { .. } => true,
            Self::WrongCount { found, wanted, .. } => found < wanted,
            _ => false,
        }
    }
}

impl fmt::Display for ClaimFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWitness { probe, stacks, through, ends, nearest } => {
                let (through, ends) = (through_text(through), ends_text(ends));
                match stacks {
                    0 => write!(f, "`{probe}` has no stack, so none passes{through}{ends}")?,
                    1 => write!(f, "the one stack of `{probe}` does not pass{through}{ends}")?,
                    _ => write!(f, "none of the {stacks} stacks of `{probe}` passes{through}{ends}")?,
                }
                let Some(nearest) = nearest else { return Ok(()) };
                let NearestStack { last, next, frames, more } = nearest.as_ref();
                let more = if *more { ", ..." } else { "" };
                write!(f, "; the nearest has no {next} after {last}: {}{more}", frames.join(", "))
            }
            Self::WrongCount { found, wanted, through, ends } => {
                let wanted = count_noun(*wanted, "stack");
                write!(f, "{found} instead of {wanted}{}{}", through_text(through), ends_text(ends))
            }
            Self::Incomplete { through, ends_at } => {
                let end = ends_at.as_ref().map_or("is empty".into(), |at| format!("ends at {at}"));
                write!(f, "a stack{} {end}, before any entry", through_text(through))
            }
            Self::Corrupt { through, ends_at } => {
                write!(f, "a stack{} is corrupt; its last frame is {ends_at}", through_text(through))
            }
            Self::NotExact { through, excess } => {
                write!(
                    f,
                    "a stack{} has frames that its reference does not have: {excess}",
                    through_text(through)
                )
            }
            Self::NotWhole { through, gaps } => {
                write!(f, "a stack{} lacks frames: {gaps}", through_text(through))
            }
            Self::Console { report, line } => write!(f, "the console reports ({report}): {line}"),
        }
    }
}

/// ` through register_netdevice, tun_chr_ioctl`
fn through_text(functions: &[String]) -> String {
    if functions.is_empty() { String::new() } else { format!(" through {}", functions.join(", ")) }
}

/// `; they end at ftrace_graph_call (5), syscall_common (1)`
fn ends_text(ends: &[EndCount]) -> String {
    let each = ends.iter().map(|end| format!("{} ({})", end.at.as_deref().unwrap_or("nothing"), end.count));
    let each: Vec<String> = each.collect();
    if each.is_empty() { String::new() } else { format!("; they end at {}", each.join(", ")) }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrReason)
    }
}

/// Reads a reason, or the sentence that stands for it in a document of version 1.
struct TextOrReason;

impl<'de> Visitor<'de> for TextOrReason {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason, or its sentence")
    }

    fn visit_str<E>(self, text: &str) -> Result<Reason, E> {
        Ok(Reason::Text { text: text.into() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reason, A::Error> {
        Reason::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests;

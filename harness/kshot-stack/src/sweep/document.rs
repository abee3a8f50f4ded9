//! The document of a sweep: what `kshot sweep --format json` prints and `sweep.json` holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{ConsoleReport, KernelInfo, Timings};
use crate::foreign::{Foreign, Name};

/// The version of the document's form. It grows when a reader of an older form would misread the document.
pub const SCHEMA: u32 = 1;

/// The result document of a sweep over one kernel.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SweepDocument {
    /// The version of the document's form.
    pub schema: u32,
    /// The kernel that was booted.
    pub kernel: KernelInfo,
    /// QEMU's version as QEMU reports it.
    pub qemu: String,
    /// The duration of each phase, in milliseconds.
    pub timings_ms: Timings,
    /// The findings.
    pub findings: SweepFindings,
    /// The problems that the kernel reported on its console.
    pub console: Vec<ConsoleReport>,
    /// The run folder's files: name to path, relative to the folder.
    pub artifacts: BTreeMap<String, String>,
}

/// How many of the kernel's stacks func_stack_trace records correctly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SweepFindings {
    /// The counts of functions.
    pub functions: FunctionCounts,
    /// The counts of stacks.
    pub stacks: StackCounts,
    /// The places where stacks break, the one with the most functions first.
    pub breaks: Vec<StackBreak>,
    /// The stacks whose truth is incomplete, grouped by where the truth ends.
    pub no_truth: Vec<UncomparedStacks>,
    /// Every function that was compared, sorted by name.
    #[serde(rename = "each")]
    pub by_function: Vec<FunctionResult>,
}

/// Counts of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FunctionCounts {
    /// The functions that func_stack_trace was armed on.
    pub armed: u64,
    /// The functions with at least one compared stack; the sum of the next three.
    pub compared: u64,
    /// The functions whose stacks are all whole.
    pub whole: u64,
    /// The functions with some whole and some broken stacks.
    pub partly: u64,
    /// The functions without a whole stack.
    pub never: u64,
}

/// Counts of stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StackCounts {
    /// The stacks that ftrace recorded.
    pub recorded: u64,
    /// The stacks that were compared: the first ones of each function, where the truth is complete.
    pub compared: u64,
    /// The stacks that hold all frames of the truth and no others.
    pub whole: u64,
}

/// How a stack differs from the truth.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum BreakKind {
    /// The stack ends too early.
    Cut,
    /// The stack skips frames and goes on.
    Gap,
    /// The stack holds a frame that the truth does not.
    Wrong,
}

impl BreakKind {
    /// The kind's name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Gap => "gap",
            Self::Wrong => "wrong",
        }
    }
}

/// A set of stacks that break in the same way at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StackBreak {
    /// How the stacks break.
    pub kind: BreakKind,
    /// Where the stacks break. For `cut`: the frame that the stack ends at, `null` for an empty stack. For
    /// `gap`: the last frame before the gap, `null` if the innermost frame is missing. For `wrong`: the wrong
    /// frame.
    pub at: Option<String>,
    /// The number of functions whose stacks break here.
    pub functions: u64,
    /// The number of stacks that break here.
    pub stacks: u64,
    /// The names of some of the functions.
    pub examples: Vec<String>,
}

/// A set of stacks that could not be compared, because gdb's stack is incomplete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UncomparedStacks {
    /// The frame at which the truth ends.
    pub ends_at: Option<String>,
    /// The number of functions.
    pub functions: u64,
    /// The number of stacks.
    pub stacks: u64,
}

/// The result of one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FunctionResult {
    /// The function's name as ftrace prints it.
    pub name: String,
    /// The number of compared stacks.
    pub compared: u64,
    /// The number of whole stacks.
    pub whole: u64,
}

impl SweepDocument {
    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }

    /// The document as it is written to a file.
    pub fn to_text(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).expect("the document has string keys only"))
    }
}

impl Foreign for SweepDocument {
    const WHAT: &'static str = "a sweep document";
    const SCHEMA: u32 = SCHEMA;

    fn names(&self) -> Vec<Name<'_>> {
        self.kernel.names().into_iter().chain(self.artifacts.values().map(|path| Name::Path(path))).collect()
    }
}

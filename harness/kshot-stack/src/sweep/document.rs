//! The document of a sweep: what `kshot sweep --format json` prints and `sweep.json` holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{ConsoleEvent, KernelInfo, Timings};
use crate::foreign::{Foreign, Name};

/// The version of the document. It grows when a reader of the old one would go wrong.
pub const SCHEMA: u32 = 1;

/// One sweep over one kernel.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Document {
    /// The version of this document's form, 1.
    pub schema: u32,
    /// What was booted.
    pub kernel: KernelInfo,
    /// QEMU's version, as it says itself.
    pub qemu: String,
    /// Milliseconds of each phase.
    pub timings_ms: Timings,
    /// What it came to.
    pub findings: Findings,
    /// Trouble that the kernel reported on its console.
    pub console: Vec<ConsoleEvent>,
    /// The run folder's files: name to path, relative to the folder.
    pub artifacts: BTreeMap<String, String>,
}

/// How much of the truth func_stack_trace tells over the whole kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Findings {
    /// How many functions.
    pub functions: Functions,
    /// How many stacks.
    pub stacks: Stacks,
    /// Where stacks break, the place with the most functions first.
    pub breaks: Vec<Break>,
    /// Stacks without a whole truth, by where the truth ends.
    pub no_truth: Vec<NoTruth>,
    /// Every function that was compared, by name.
    pub each: Vec<Function>,
}

/// Counts of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Functions {
    /// Those that func_stack_trace was armed on: what the workload reached in its first run.
    pub armed: u64,
    /// Those of which at least one stack was compared; the next three sum up to it.
    pub compared: u64,
    /// Those all of whose stacks are whole.
    pub whole: u64,
    /// Those some of whose stacks are whole.
    pub partly: u64,
    /// Those none of whose stacks is whole.
    pub never: u64,
}

/// Counts of stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stacks {
    /// Those that ftrace recorded.
    pub recorded: u64,
    /// Those that were compared: of each function the first ones, where the truth is whole.
    pub compared: u64,
    /// Those that hold the frames of the truth, all of them and no others.
    pub whole: u64,
}

/// How a stack parts from the truth.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It ends too early.
    Cut,
    /// It leaves frames out and goes on.
    Gap,
    /// It holds a frame that the truth does not.
    Wrong,
}

impl Kind {
    /// The word itself, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Gap => "gap",
            Self::Wrong => "wrong",
        }
    }
}

/// Stacks that break in the same way at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Break {
    /// How.
    pub kind: Kind,
    /// Of a `cut` the frame that the stack ends at, `null` for an empty one; of a `gap` the last frame before it,
    /// `null` where it is the innermost that is missing; of a `wrong` the frame itself.
    pub at: Option<String>,
    /// In the stacks of how many functions.
    pub functions: u64,
    /// In how many stacks.
    pub stacks: u64,
    /// Some of the functions.
    pub examples: Vec<String>,
}

/// Stacks that could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NoTruth {
    /// Where gdb lost its way.
    pub ends_at: Option<String>,
    /// Stacks of how many functions.
    pub functions: u64,
    /// How many stacks.
    pub stacks: u64,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Function {
    /// Its name, as ftrace has it.
    pub name: String,
    /// How many of its stacks were compared.
    pub compared: u64,
    /// How many of them are whole.
    pub whole: u64,
}

impl Document {
    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }

    /// The document as it stands on file.
    pub fn to_text(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).expect("the document has string keys only"))
    }
}

impl Foreign for Document {
    const WHAT: &'static str = "a sweep document";
    const SCHEMA: u32 = SCHEMA;

    fn names(&self) -> Vec<Name<'_>> {
        self.kernel.names().into_iter().chain(self.artifacts.values().map(|path| Name::Path(path))).collect()
    }
}

//! Claims about stacks and the console, and the faults that are already known.

use globset::Glob;
use serde::Serialize;

/// A claim about the stacks of one probe.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The claim's name, which known faults refer to; by default the probe's name.
    pub name: String,
    /// The name of the probe.
    pub probe: String,
    /// The functions that a stack must pass through, innermost first, with other frames allowed in between. `a|b`
    /// matches either function. A stack that passes through all of them is a *witness*.
    pub through: Vec<String>,
    /// The required number of witnesses; `None` means at least one.
    pub witness_count: Option<u64>,
    /// Whether every witness must be complete.
    pub complete: bool,
    /// Whether no witness may have a frame that the reference has not.
    pub exact: bool,
    /// Whether no witness may lack a frame of the reference.
    pub whole: bool,
}

/// A claim that the kernel does not report a certain problem on its console.
#[derive(Clone, Debug, Serialize)]
pub struct ConsoleClaim {
    /// The claim's name, which known faults refer to.
    pub name: String,
    /// A part of the report's first line.
    pub forbidden_text: String,
}

/// A known fault: a claim that is known to fail on some kernels, with the reason.
#[derive(Clone, Debug, Serialize)]
pub struct KnownFault {
    /// Globs over kernel names.
    pub kernels: Vec<String>,
    /// The claim's name.
    pub claim: String,
    /// The reason why the claim fails.
    pub because: String,
}

impl KnownFault {
    /// Whether the fault is known on the kernel with this name.
    pub fn applies_to(&self, kernel: &str) -> bool {
        self.kernels
            .iter()
            .any(|glob| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(kernel)))
    }
}

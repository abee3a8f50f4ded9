//! What must hold of stacks, and what is known not to.

use globset::Glob;
use serde::Serialize;

/// What must hold of a probe's stacks.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// Its name, for `known`; the probe's name unless the scenario gives one.
    pub name: String,
    /// The probe it speaks of.
    pub probe: String,
    /// Functions that a stack has to pass through, innermost first, others between them allowed; `a|b` is
    /// either of two. A stack that does is a *witness*.
    pub through: Vec<String>,
    /// How many witnesses there must be; `None` means at least one.
    pub stacks: Option<u64>,
    /// Whether each witness has to be complete.
    pub complete: bool,
    /// Whether no witness may have a frame that the reference has not.
    pub exact: bool,
}

/// Trouble that the kernel must not report on its console.
#[derive(Clone, Debug, Serialize)]
pub struct Silence {
    /// Its name, for `known`.
    pub name: String,
    /// Text of the report's first line.
    pub never: String,
}

/// A fault that is known: the claim does not hold on these kernels, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// Globs over kernel names.
    pub kernels: Vec<String>,
    /// The claim.
    pub claim: String,
    /// The reason, for people.
    pub because: String,
}

impl Known {
    /// Whether it is known of the kernel of that name.
    pub fn speaks_of(&self, kernel: &str) -> bool {
        self.kernels
            .iter()
            .any(|glob| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(kernel)))
    }
}

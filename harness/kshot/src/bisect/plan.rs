//! The plan, the events and the result of a bisection.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::history::History;

/// The plan of a bisection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The candidates and their parents.
    pub history: History,
    /// The nodes without the fault: one node, or the merge bases if that node is not an ancestor of the bad one. Empty
    /// if no good node is known; then the search looks for one with a growing stride.
    pub good: Vec<usize>,
    /// The node with the fault. If it is the newer end, the search finds where the fault begins, otherwise where it
    /// ends.
    pub bad: usize,
    /// The states that count as good; if empty, the states of the good ends.
    pub quiet: BTreeSet<String>,
    /// The accepted probability that the result is wrong.
    pub error: f64,
    /// How many good runs in a row are accepted where the fault is expected, before the fault counts as not reproduced.
    pub patience: u32,
    /// Whether the driver can revert the culprit on the newer end, or apply it to the older end.
    pub flips: bool,
    /// The number of evenly spread nodes that are tested after the search, to see whether the state changed elsewhere.
    pub checks: usize,
}

/// A kernel that can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A node of the history.
    At(usize),
    /// The newer end with this node's commit reverted.
    Reverted(usize),
    /// The older end with this node's commit applied.
    Applied(usize),
}

/// The purpose of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Confirm that an end is good or bad, as stated.
    End,
    /// Find a good end.
    Walk,
    /// Halve the suspects.
    Mark,
    /// Prove that the fault is absent.
    Proof,
    /// Reproduce the fault where it was found.
    Again,
    /// Verify that the culprit alone causes the change.
    Flip,
    /// Check that nothing changed elsewhere.
    Check,
}

impl Purpose {
    /// The purpose's name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Walk => "walk",
            Self::Mark => "mark",
            Self::Proof => "proof",
            Self::Again => "again",
            Self::Flip => "flip",
            Self::Check => "check",
        }
    }
}

/// An event that is reported to the search, in chronological order. A search is determined by its plan and its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A candidate was built. Candidates with the same image count as one.
    Built {
        /// The candidate.
        subject: Subject,
        /// The SHA-256 of the image.
        image: String,
    },
    /// A candidate ran.
    Ran {
        /// The candidate.
        subject: Subject,
        /// The purpose of the run.
        purpose: Purpose,
        /// The observed state, in the question's terms.
        state: String,
    },
    /// A candidate did not build, boot or answer, and is skipped.
    CannotTell {
        /// The candidate.
        subject: Subject,
        /// The reason.
        why: String,
    },
    /// The host failed, which says nothing about any candidate.
    HostFault {
        /// The error.
        why: String,
    },
}

/// The next step of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Run a candidate once.
    Run {
        /// The candidate.
        subject: Subject,
        /// The purpose of the run.
        purpose: Purpose,
        /// The work that remains after it, as an estimate.
        left: Left,
    },
    /// The search is finished.
    Done(Outcome),
}

/// An estimate of the remaining work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The number of nodes that may still be the culprit.
    pub suspects: usize,
    /// The number of nodes that still have to be evaluated.
    pub marks: u32,
    /// The number of remaining runs, this one included.
    pub runs: u32,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The state changed here; several change points if it changed more than once.
    Found {
        /// The change points, in the order in which they were found.
        changes: Vec<Change>,
        /// The probability of at most this that a place is wrong.
        wrong: f64,
    },
    /// The state changed and changed back, so there is no single culprit.
    NotMonotonic {
        /// A node with the change.
        has: usize,
        /// A descendant of that node without the change.
        lacks: usize,
    },
    /// The bad end shows no state that the good end does not show.
    NoChange {
        /// The number of runs of the bad end.
        runs: u32,
    },
    /// The bad end is bad too rarely for the given patience.
    TooRare {
        /// The number of bad runs.
        shows: u32,
        /// The number of all runs.
        runs: u32,
    },
    /// The good end is bad.
    WrongEnd {
        /// The node of the good end.
        end: usize,
        /// The observed state.
        state: String,
    },
    /// The good end shows a different state in every run.
    Unstable {
        /// The node of the good end.
        end: usize,
        /// The number of different states.
        states: usize,
    },
    /// An end does not build, boot or answer.
    Unusable {
        /// The node of the end.
        end: usize,
        /// The reason.
        why: String,
    },
    /// A node was bad and then never again.
    Fluke {
        /// The node.
        at: usize,
        /// The number of bad runs.
        shows: u32,
        /// The number of all runs.
        runs: u32,
    },
    /// Every node that was tried while looking for a good end is bad.
    NoGood,
    /// The host fails in most attempts.
    HostFaults {
        /// The last host error.
        why: String,
    },
}

/// A place in the history where the state changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The suspects, oldest first: one node, unless the nodes in between had to be skipped.
    pub suspects: Vec<usize>,
    /// The parents of the suspects, which are without the change.
    pub before: Vec<usize>,
    /// The nodes in `before` and the last suspect that could not be proven because they do not build or boot.
    pub unproven: Vec<usize>,
    /// The result of reverting or applying the culprit alone; `None` if neither could be tried.
    pub flip: Option<Flip>,
}

impl Change {
    /// The first node that has it for certain.
    pub fn culprit(&self) -> usize {
        *self.suspects.last().expect("a change has a suspect")
    }
}

/// Whether the culprit alone causes the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// The candidate that was tested.
    pub subject: Subject,
    /// Whether the culprit alone causes the change.
    pub flips: bool,
}

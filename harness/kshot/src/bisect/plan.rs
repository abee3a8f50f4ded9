//! The plan, the events and the result of a bisection.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::graph::CandidateGraph;

/// The plan of a bisection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchPlan {
    /// The candidates and their parents.
    #[serde(rename = "history")]
    pub graph: CandidateGraph,
    /// The nodes without the fault: one node, or the merge bases if that node is not an ancestor of the bad
    /// one. Empty if no good node is known; then the search looks for one with a growing stride.
    pub good: Vec<usize>,
    /// The node with the fault. If it is the newer end, the search finds where the fault begins, otherwise
    /// where it ends.
    pub bad: usize,
    /// The answers that count as good; if empty, the answers of the good ends.
    #[serde(rename = "quiet")]
    pub good_answers: BTreeSet<String>,
    /// The accepted probability that the result is wrong.
    #[serde(rename = "error")]
    pub accepted_error: f64,
    /// How many good runs in a row are accepted where the fault is expected, before the fault counts as not
    /// reproduced.
    pub patience: u32,
    /// Whether the driver can revert the culprit on the newer end, or apply it to the older end.
    #[serde(rename = "flips")]
    pub can_verify_culprit: bool,
    /// The number of evenly spread nodes that are tested after the search, to see whether the answer changed
    /// elsewhere.
    #[serde(rename = "checks")]
    pub spot_checks: usize,
}

/// A kernel that can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Candidate {
    /// A node of the history.
    #[serde(rename = "at")]
    Node(usize),
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
    #[serde(rename = "end")]
    ConfirmEnd,
    /// Find a good end.
    #[serde(rename = "walk")]
    FindGoodEnd,
    /// Halve the suspects.
    #[serde(rename = "mark")]
    Halve,
    /// Prove that the fault is absent.
    #[serde(rename = "proof")]
    ProveGood,
    /// Reproduce the fault where it was found.
    #[serde(rename = "again")]
    Reproduce,
    /// Verify that the culprit alone causes the change.
    #[serde(rename = "flip")]
    VerifyCulprit,
    /// Check that nothing changed elsewhere.
    #[serde(rename = "check")]
    SpotCheck,
}

impl Purpose {
    /// The purpose's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfirmEnd => "end",
            Self::FindGoodEnd => "find good end",
            Self::Halve => "evaluation",
            Self::ProveGood => "proof",
            Self::Reproduce => "reproduction",
            Self::VerifyCulprit => "culprit check",
            Self::SpotCheck => "spot check",
        }
    }
}

/// An event that is reported to the search, in chronological order. A search is determined by its plan and
/// its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchEvent {
    /// A candidate was built. Candidates with the same image count as one.
    Built {
        /// The candidate whose kernel was built.
        #[serde(rename = "subject")]
        candidate: Candidate,
        /// The SHA-256 of the image.
        image: String,
    },
    /// A candidate ran.
    Ran {
        /// The candidate.
        #[serde(rename = "subject")]
        candidate: Candidate,
        /// The purpose of the run.
        purpose: Purpose,
        /// The answer, in the question's terms.
        #[serde(rename = "state")]
        answer: String,
    },
    /// A candidate did not build, boot or answer, and is skipped.
    #[serde(rename = "cannot-tell")]
    Skip {
        /// The candidate.
        #[serde(rename = "subject")]
        candidate: Candidate,
        /// The reason.
        why: String,
    },
    /// The host failed, which says nothing about any candidate.
    #[serde(rename = "host-fault")]
    HostError {
        /// The error.
        why: String,
    },
}

/// The next step of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum NextStep {
    /// Run a candidate once.
    Run {
        /// The candidate.
        candidate: Candidate,
        /// The purpose of the run.
        purpose: Purpose,
        /// The work that remains after it, as an estimate.
        left: RemainingWork,
    },
    /// The search is finished.
    Done(BisectionResult),
}

/// An estimate of the remaining work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemainingWork {
    /// The number of nodes that may still be the culprit.
    pub suspects: usize,
    /// The number of nodes that still have to be evaluated.
    pub evaluations: u32,
    /// The number of remaining runs, this one included.
    pub runs: u32,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BisectionResult {
    /// The answer changed here; several change points if it changed more than once.
    Found {
        /// The change points, in the order in which they were found.
        changes: Vec<ChangePoint>,
        /// The probability of at most this that a change point is wrong.
        #[serde(rename = "wrong")]
        error_bound: f64,
    },
    /// The answer changed and changed back, so there is no single culprit.
    NotMonotonic {
        /// A node with the change.
        #[serde(rename = "has")]
        with_change: usize,
        /// A descendant of that node without the change.
        #[serde(rename = "lacks")]
        without_change: usize,
    },
    /// The bad end gives no answer that the good end does not give.
    NoChange {
        /// The number of runs of the bad end.
        runs: u32,
    },
    /// The bad end is bad too rarely for the given patience.
    TooRare {
        /// The number of bad runs.
        #[serde(rename = "shows")]
        bad_runs: u32,
        /// The number of all runs.
        runs: u32,
    },
    /// The good end is bad.
    #[serde(rename = "wrong-end")]
    GoodEndIsBad {
        /// The node of the good end.
        end: usize,
        /// The answer.
        #[serde(rename = "state")]
        answer: String,
    },
    /// The good end gives a different answer in every run.
    Unstable {
        /// The node of the good end.
        end: usize,
        /// The number of different answers.
        #[serde(rename = "states")]
        answers: usize,
    },
    /// An end does not build, boot or answer.
    #[serde(rename = "unusable")]
    UnusableEnd {
        /// The node of the end.
        end: usize,
        /// The reason.
        why: String,
    },
    /// A node was bad and then never again.
    #[serde(rename = "fluke")]
    NotReproducible {
        /// The node.
        at: usize,
        /// The number of bad runs.
        #[serde(rename = "shows")]
        bad_runs: u32,
        /// The number of all runs.
        runs: u32,
    },
    /// Every node that was tried while looking for a good end is bad.
    #[serde(rename = "no-good")]
    NoGoodFound,
    /// The host fails in most attempts.
    #[serde(rename = "host-faults")]
    TooManyHostErrors {
        /// The last host error.
        why: String,
    },
}

/// A point of the history where the answer changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// The suspects, oldest first: one node, unless the nodes in between had to be skipped.
    pub suspects: Vec<usize>,
    /// The parents of the suspects, which are without the change.
    #[serde(rename = "before")]
    pub parents: Vec<usize>,
    /// The nodes in `parents` and the last suspect that could not be proven because they do not build or
    /// boot.
    pub unproven: Vec<usize>,
    /// The result of reverting or applying the culprit alone; `None` if neither could be tried.
    #[serde(rename = "flip")]
    pub verification: Option<CulpritVerification>,
}

impl ChangePoint {
    /// The first node that has it for certain.
    pub fn culprit(&self) -> usize {
        *self.suspects.last().expect("a change has a suspect")
    }
}

/// Whether the culprit alone causes the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CulpritVerification {
    /// The candidate that was tested.
    #[serde(rename = "subject")]
    pub candidate: Candidate,
    /// Whether the culprit alone causes the change.
    #[serde(rename = "flips")]
    pub confirmed: bool,
}

//! What a search is asked, what it is told, and what it answers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::history::History;

/// What a search is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What there is to search.
    pub history: History,
    /// Where the fault is not: one node, or the merge bases where that node is no ancestor of the other end. None
    /// at all where nobody knows; then it is looked for with a growing stride.
    pub good: Vec<usize>,
    /// Where the fault is. As the newer end its beginning is looked for, as the older one its end.
    pub bad: usize,
    /// The states that are no fault; none where those of the good end are to be taken, whatever they are.
    pub quiet: BTreeSet<String>,
    /// The accepted probability that the result is wrong.
    pub error: f64,
    /// How often in a row the fault may stay away where it must show, before it counts as not reproduced.
    pub patience: u32,
    /// Whether the driver can take the culprit back on the newer end, or put it on the older one.
    pub flips: bool,
    /// How many nodes, spread evenly, are tried after the search to see whether it changed only there.
    pub checks: usize,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A node of the history.
    At(usize),
    /// The newer end without this node's change.
    Reverted(usize),
    /// The older end with this node's change.
    Applied(usize),
}

/// Why it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To see that an end is what it is said to be.
    End,
    /// To find an end.
    Walk,
    /// To halve what is left.
    Mark,
    /// To prove that the fault is not there.
    Proof,
    /// To see the fault again where it was found.
    Again,
    /// To see that the change alone does it.
    Flip,
    /// To see that it changed nowhere else.
    Check,
}

impl Purpose {
    /// The word for it.
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

/// What a search is told, one thing at a time, in order. A search is its plan and these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It was built; its image has this hash. Subjects with the same image are one.
    Built {
        /// What.
        subject: Subject,
        /// The hash.
        image: String,
    },
    /// It ran, and this is what was seen.
    Ran {
        /// What.
        subject: Subject,
        /// Why.
        purpose: Purpose,
        /// What was seen, as the question puts it.
        state: String,
    },
    /// It did not build, boot, or answer.
    CannotTell {
        /// What.
        subject: Subject,
        /// Why it cannot be told.
        why: String,
    },
    /// The host failed: this says nothing of any subject.
    HostFault {
        /// How.
        why: String,
    },
}

/// What a search wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// One run of this.
    Run {
        /// What.
        subject: Subject,
        /// Why.
        purpose: Purpose,
        /// What is left after it, as far as it can be foreseen.
        left: Left,
    },
    /// Nothing: this is the result.
    Done(Outcome),
}

/// What is left of a search if nothing unforeseen happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How many nodes the change may still be in.
    pub suspects: usize,
    /// How many nodes have still to be marked.
    pub marks: u32,
    /// How many runs that and the proof take, this one included.
    pub runs: u32,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It changed here; more than one place where the state changed more than once.
    Found {
        /// In the order in which they were found.
        changes: Vec<Change>,
        /// The probability of at most this that a place is wrong.
        wrong: f64,
    },
    /// It changed there, and back elsewhere, so there is no one place.
    NotMonotonic {
        /// A node that has the change.
        has: usize,
        /// A descendant of it that has not.
        lacks: usize,
    },
    /// The bad end shows nothing that the good end does not.
    NoChange {
        /// How often the bad end was run.
        runs: u32,
    },
    /// The bad end shows it too rarely for the patience that was given.
    TooRare {
        /// How often it showed.
        shows: u32,
        /// In how many runs.
        runs: u32,
    },
    /// The good end shows the fault.
    WrongEnd {
        /// The end.
        end: usize,
        /// What it showed.
        state: String,
    },
    /// The good end says another thing in every run.
    Unstable {
        /// The end.
        end: usize,
        /// How many things it said.
        states: usize,
    },
    /// An end does not build, boot or answer.
    Unusable {
        /// The end.
        end: usize,
        /// Why.
        why: String,
    },
    /// A node showed the fault and then not again.
    Fluke {
        /// The node.
        at: usize,
        /// How often it showed.
        shows: u32,
        /// In how many runs.
        runs: u32,
    },
    /// Every node that the walk tried shows the fault.
    NoGood,
    /// The host fails more often than not.
    HostFaults {
        /// The last fault.
        why: String,
    },
}

/// One place where it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The nodes that it may be in, oldest first: one, unless what lies between cannot be told.
    pub suspects: Vec<usize>,
    /// The nodes before them that do not have it.
    pub before: Vec<usize>,
    /// Those of `before` and the last suspect that could not be proven, because they do not build or boot.
    pub unproven: Vec<usize>,
    /// What became of the change taken back, or put on alone; `None` where neither could be tried.
    pub flip: Option<Flip>,
}

impl Change {
    /// The first node that has it for certain.
    pub fn culprit(&self) -> usize {
        *self.suspects.last().expect("a change has a suspect")
    }
}

/// What the change alone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// What was tried.
    pub subject: Subject,
    /// Whether it flips the verdict.
    pub flips: bool,
}

//! The document of a survey: what each reporter of stacks says in each situation, against the truth.

use serde::{Deserialize, Serialize};

use crate::document::{Deviation, KernelInfo, ProbeResult, Reason, ReferenceKind, RunDocument, StackResult};
use crate::foreign::{Foreign, Name};
use crate::stack::State;

/// The version of the document's form. It grows when a reader of an older form would misread the document.
pub const SCHEMA: u32 = 1;

/// The end of a stack whose last frame has no name.
const NAMELESS: &str = "a nameless frame";

/// What the reporters of one kernel say: `kshot survey --format json`, a line a kernel.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SurveyDocument {
    /// The version of the document's form.
    pub schema: u32,
    /// The kernel that was booted.
    pub kernel: KernelInfo,
    /// QEMU's version as QEMU reports it.
    pub qemu: String,
    /// The cells, situation by situation, in each the reporters in the same order.
    pub cells: Vec<SurveyCell>,
}

/// What one reporter says in one situation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SurveyCell {
    /// The situation's name.
    pub situation: String,
    /// The function whose stack is taken.
    pub function: String,
    /// The reporter's name.
    pub reporter: String,
    /// The finding.
    pub finding: Finding,
    /// The run folder's name, where there was a run: `kshot report FOLDER` shows each stack beside the truth.
    pub folder: Option<String>,
}

/// What is to be said of a reporter's stacks; where they differ among each other, of the worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "finding")]
pub enum Finding {
    /// Each stack is the truth's, from the function to the entry.
    Complete {
        /// The number of the truth's frames.
        frames: u64,
    },
    /// A stack ends before the entry.
    Cut {
        /// The last frame.
        at: String,
        /// How many of the truth's frames it holds.
        matched: u64,
        /// The number of the truth's frames.
        frames: u64,
    },
    /// A stack reaches the entry and lacks frames on the way.
    Gap {
        /// The missing frames, from the innermost outwards.
        missing: Vec<String>,
        /// How many of the truth's frames it holds.
        matched: u64,
        /// The number of the truth's frames.
        frames: u64,
    },
    /// A stack has frames that the truth has not, or one of them too often.
    Extra {
        /// The frames, from the innermost outwards.
        extra: Vec<String>,
        /// How many of the truth's frames it holds.
        matched: u64,
        /// The number of the truth's frames.
        frames: u64,
    },
    /// A stack without frames.
    Empty,
    /// The reporter recorded nothing, where the truth saw the function called.
    Absent,
    /// There is no truth to compare with, so this is how the worst stack ends.
    NoTruth {
        /// How it ends.
        ends: String,
    },
    /// The kernel cannot do it, or the run came to nothing.
    NotMeasured {
        /// Why.
        because: String,
    },
}

impl Foreign for SurveyDocument {
    const WHAT: &'static str = "a survey document";
    const SCHEMA: u32 = SCHEMA;

    fn names(&self) -> Vec<Name<'_>> {
        let folders = self.cells.iter().filter_map(|cell| cell.folder.as_deref()).map(Name::Path);
        self.kernel.names().into_iter().chain(folders).collect()
    }
}

impl Finding {
    /// What a run of one reporter, with the truth beside it, comes to.
    pub fn of(document: &RunDocument, reporter: &str, truth: &str) -> Self {
        let probe = |name: &str| document.probes.iter().find(|probe| probe.name == name);
        let Some(reported) = probe(reporter) else {
            let reasons: Vec<_> = document.reasons.iter().map(Reason::headline).collect();
            return Self::NotMeasured { because: reasons.join("; ") };
        };
        if let Some(because) = &reported.left_out_because {
            return Self::NotMeasured { because: because.clone() };
        }
        let complete = |truth: &ProbeResult| truth.stacks.iter().any(|stack| stack.state == State::Complete);
        // A truth may end in user space.
        let by_truth = |stack: &StackResult| {
            stack.fidelity.is_some_and(|fidelity| fidelity.reference == ReferenceKind::Gdb)
        };
        let measured = reported.stacks.iter().any(by_truth);
        match probe(truth).filter(|truth| truth.was_recorded()) {
            Some(truth) if measured || complete(truth) => Self::against_truth(reported),
            Some(truth) if truth.events == 0 => {
                Self::NotMeasured { because: "the function was not called".into() }
            }
            _ => Self::without_truth(reported),
        }
    }

    fn against_truth(probe: &ProbeResult) -> Self {
        // A stack that no truth speaks of is of another task, or of a call that gdb was not asked to wait
        // for.
        let measured = probe.stacks.iter().filter(|stack| stack.fidelity.is_some());
        let findings = measured.map(Self::of_stack);
        let none = || match probe.stacks.is_empty() {
            true => Self::Absent,
            false => Self::NotMeasured { because: "its stacks are of other tasks than the truth's".into() },
        };
        findings.max_by_key(Self::rank).unwrap_or_else(none)
    }

    fn without_truth(probe: &ProbeResult) -> Self {
        let worst = probe.stacks.iter().max_by_key(|stack| stack.state != State::Complete);
        worst.map_or(Self::Absent, |stack| Self::NoTruth { ends: stack.end_description() })
    }

    fn of_stack(stack: &StackResult) -> Self {
        let Some(fidelity) = stack.fidelity.filter(|_| stack.state != State::Empty) else {
            return Self::Empty;
        };
        let (matched, frames) = (fidelity.matched_frames, fidelity.reference_frames);
        let named = |missing: bool| {
            let differs =
                stack.differences.iter().filter(|one| (one.deviation == Deviation::Missing) == missing);
            differs.map(|one| one.frame.clone()).collect::<Vec<_>>()
        };
        if matched == frames && fidelity.extra + fidelity.repeated == 0 {
            return Self::Complete { frames };
        }
        if matched == frames {
            return Self::Extra { extra: named(false), matched, frames };
        }
        let end = stack.frames.len() as u64;
        let lacks_the_end =
            || stack.differences.iter().any(|one| one.deviation == Deviation::Missing && one.at >= end);
        // One that breaks in the midst may go on to the entry.
        if stack.state == State::Complete || stack.state == State::Corrupt && !lacks_the_end() {
            return Self::Gap { missing: named(true), matched, frames };
        }
        let at = stack.ends_at.clone().unwrap_or_else(|| NAMELESS.to_owned());
        Self::Cut { at, matched, frames }
    }

    /// How bad a finding is: the less of the truth is left, the worse.
    fn rank(&self) -> (u8, u64) {
        match self {
            Self::Complete { .. } => (0, 0),
            Self::Extra { frames, matched, .. } => (1, frames - matched),
            Self::Gap { frames, matched, .. } => (2, frames - matched),
            Self::Cut { frames, matched, .. } => (3, frames - matched),
            Self::Empty => (4, 0),
            Self::Absent | Self::NoTruth { .. } | Self::NotMeasured { .. } => (5, 0),
        }
    }
}

/// The finding for people: `cut at handle_bp_int (0 of 4)`.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Complete { frames } => write!(f, "complete ({frames})"),
            Self::Cut { at, matched, frames } => write!(f, "cut at {at} ({matched} of {frames})"),
            Self::Gap { missing, matched, frames } => {
                write!(f, "gap: {} ({matched} of {frames})", missing.join(", "))
            }
            Self::Extra { extra, frames, .. } => write!(f, "extra: {} ({frames})", extra.join(", ")),
            Self::Empty => f.write_str("empty"),
            Self::Absent => f.write_str("absent"),
            Self::NoTruth { ends } => write!(f, "{ends} (no truth)"),
            Self::NotMeasured { .. } => f.write_str("not measured"),
        }
    }
}

impl SurveyDocument {
    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }

    /// The reporters, in the order of the cells.
    pub fn reporters(&self) -> Vec<&str> {
        self.in_order(|cell| &cell.reporter)
    }

    /// The situations, in the order of the cells.
    pub fn situations(&self) -> Vec<&str> {
        self.in_order(|cell| &cell.situation)
    }

    fn in_order<'a>(&'a self, name: impl Fn(&'a SurveyCell) -> &'a String) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&name(cell).as_str()) {
                names.push(name(cell));
            }
        }
        names
    }

    /// The cell of a situation and a reporter.
    pub fn cell(&self, situation: &str, reporter: &str) -> Option<&SurveyCell> {
        self.cells.iter().find(|cell| cell.situation == situation && cell.reporter == reporter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Fidelity, FrameDifference};
    use crate::samples;

    fn stack(state: State, matched: u64, extra: u64, differences: &[(Deviation, &str)]) -> StackResult {
        let differences = differences.iter().map(|(deviation, frame)| FrameDifference {
            deviation: *deviation,
            frame: (*frame).into(),
            at: 0,
        });
        StackResult {
            ends_at: Some("last".into()),
            fidelity: Some(Fidelity { extra, ..Fidelity::new(4, matched, ReferenceKind::Gdb) }),
            differences: differences.collect(),
            ..samples::stack(&["vfs_mkdir"], state)
        }
    }

    fn finding(stacks: &[StackResult]) -> String {
        Finding::against_truth(&samples::probe("ftrace", stacks.to_vec())).to_string()
    }

    #[test]
    fn a_finding_says_how_a_stack_differs_from_the_truth() {
        use Deviation::{Extra, Missing};
        assert_eq!(finding(&[stack(State::Complete, 4, 0, &[])]), "complete (4)");
        assert_eq!(finding(&[stack(State::Complete, 3, 0, &[(Missing, "f")])]), "gap: f (3 of 4)");
        assert_eq!(finding(&[stack(State::Complete, 4, 1, &[(Extra, "g")])]), "extra: g (4)");
        assert_eq!(finding(&[stack(State::Truncated, 1, 0, &[(Missing, "f")])]), "cut at last (1 of 4)");
        assert_eq!(finding(&[stack(State::Empty, 0, 0, &[])]), "empty");
        assert_eq!(finding(&[]), "absent");
    }

    #[test]
    fn the_worst_stack_counts() {
        let whole = stack(State::Complete, 4, 0, &[]);
        let gap = stack(State::Complete, 3, 0, &[(Deviation::Missing, "f")]);
        let cut = stack(State::Truncated, 3, 0, &[(Deviation::Missing, "f")]);
        assert_eq!(finding(&[gap.clone(), whole.clone()]), "gap: f (3 of 4)");
        assert_eq!(finding(&[whole, cut, gap]), "cut at last (3 of 4)");
    }

    #[test]
    fn a_stack_that_no_truth_speaks_of_does_not_count() {
        let other = StackResult { fidelity: None, ..stack(State::Truncated, 0, 0, &[]) };
        assert_eq!(finding(&[other.clone(), stack(State::Complete, 4, 0, &[])]), "complete (4)");
        assert_eq!(finding(&[other]), "not measured");
    }
}

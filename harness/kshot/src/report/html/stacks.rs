//! Stacks beside each other, as tables of the page.

use crate::report::comparison::RunComparison;
use crate::report::flame::{self, FlameGraph};
use crate::report::reference::{MeasuredAgainst, reference};
use kshot_stack::document::{ProbeResult, RunDocument, StackResult};
use kshot_stack::fidelity::{AlignedRow, side_by_side};

/// Two stacks in one table.
pub(super) struct StackTable {
    /// The event and the task: `register_netdevice in eoe_filter`.
    pub(super) caption: String,
    /// The heads of the two columns.
    pub(super) heads: (String, String),
    /// Whether one of the two stacks has a fidelity.
    pub(super) measured: bool,
    /// A description of what the left stack lacks.
    pub(super) words: String,
    /// The rows, one a frame, innermost first.
    pub(super) rows: Vec<StackTableRow>,
}

/// A frame of the left stack, the right stack, or both.
pub(super) struct StackTableRow {
    pub(super) left: Option<String>,
    pub(super) right: Option<String>,
}

/// A stack without a reference.
pub(super) struct UnmeasuredStack {
    pub(super) caption: String,
    pub(super) ending: String,
    pub(super) frames: Vec<String>,
}

/// The stacks of one probe.
pub(super) struct ProbeStacks {
    pub(super) name: String,
    pub(super) notes: Vec<String>,
    /// Stacks with a reference beside them.
    pub(super) measured: Vec<StackTable>,
    /// The stacks without a reference.
    pub(super) alone: Vec<UnmeasuredStack>,
    pub(super) flame: Option<FlameGraph>,
}

impl StackTableRow {
    /// Missing on the left, more than the right has, or on both.
    pub(super) fn class(&self) -> &'static str {
        match (&self.left, &self.right) {
            (None, _) => "missing",
            (_, None) => "extra",
            _ => "both",
        }
    }
}

/// The stacks of each probe of a run.
pub(super) fn probes(document: &RunDocument) -> Vec<ProbeStacks> {
    document.probes.iter().map(|probe| of_probe(document, probe)).collect()
}

fn of_probe(document: &RunDocument, probe: &ProbeResult) -> ProbeStacks {
    let (mut measured, mut alone) = (Vec::new(), Vec::new());
    for stack in &probe.stacks {
        match reference(document, probe, stack) {
            Some(MeasuredAgainst { probe: other, reference, rows }) => {
                let head =
                    |name: &str, stack: &StackResult| format!("{name}: {} x {}", stack.count, stack.task);
                let role = if other.is_truth() { " (the truth)" } else { " (used as the reference)" };
                measured.push(StackTable {
                    caption: caption(stack),
                    heads: (head(&probe.name, stack), format!("{}{role}", head(&other.name, reference))),
                    measured: true,
                    words: missing_frames_text(stack),
                    rows: table_rows(rows),
                });
            }
            None => alone.push(UnmeasuredStack {
                caption: format!("{} x {}", stack.count, caption(stack)),
                ending: stack.end_description(),
                frames: stack.frames.clone(),
            }),
        }
    }
    let mut notes: Vec<String> =
        probe.left_out_because.iter().map(|why| format!("left out: {why}")).collect();
    if probe.lost > 0 {
        notes.push(format!("lost {} entries, so its counts are too low", probe.lost));
    }
    notes.extend(
        probe.warnings.iter().map(|one| format!("{} x {}, first: {}", one.count, one.kind, one.example)),
    );
    notes.extend(probe.arguments.iter().map(|one| format!("{} x {}: {}", one.count, one.event, one.text)));
    let flame = (!probe.stacks.is_empty()).then(|| flame::graph(&probe.stacks));
    ProbeStacks { name: probe.name.clone(), notes, measured, alone, flame }
}

/// The stacks that changed between two runs: the pairs that differ, and a differential flame graph for each
/// probe.
pub(super) fn changed_stacks(
    before: RunDocument,
    now: RunDocument,
) -> (Vec<StackTable>, Vec<(String, FlameGraph)>) {
    let mut flames = Vec::new();
    for probe in &now.probes {
        let then = before.probes.iter().find(|one| one.name == probe.name);
        let then = then.map_or(&[][..], |one| &one.stacks);
        if then != probe.stacks.as_slice() {
            flames.push((probe.name.clone(), flame::difference(then, &probe.stacks)));
        }
    }
    let arch = now.kernel.arch.clone();
    let sides = RunComparison::compare(now, before);
    let pairs = sides.differing_stacks().map(|(probe, now, before)| {
        let frames = |side: Option<&StackResult>| side.map_or(Vec::new(), |stack| stack.frames.clone());
        let head = |word: &str, side: Option<&StackResult>| match side {
            Some(stack) => format!("{word}: {} x {}", stack.count, stack.end_description()),
            None => format!("{word}: none"),
        };
        let either = now.or(before);
        StackTable {
            caption: either.map_or_else(String::new, |stack| format!("{probe}: {}", caption(stack))),
            heads: (head("this night", now), head("before", before)),
            measured: [now, before].iter().flatten().any(|stack| stack.fidelity.is_some()),
            words: now.map_or_else(|| "the stack is missing".into(), missing_frames_text),
            rows: table_rows(side_by_side(&frames(now), &frames(before), &arch)),
        }
    });
    (pairs.collect(), flames)
}

fn caption(stack: &StackResult) -> String {
    format!("{} in {}", stack.event, stack.task)
}

/// Describes the missing frames: `4 of 4 frames missing, measured against perf; it ends at ftrace_graph_call,
/// before any entry`
fn missing_frames_text(stack: &StackResult) -> String {
    let Some(fidelity) = stack.fidelity else { return stack.end_description() };
    let excess = stack.excess().map(|excess| format!("; {excess}")).unwrap_or_default();
    let lacking = match fidelity.reference_frames.saturating_sub(fidelity.matched_frames) {
        0 => format!("no frame missing: all {} of {}", fidelity.reference_frames, fidelity.reference.name()),
        missing => format!(
            "{missing} of {} frames missing, measured against {}; {}",
            fidelity.reference_frames,
            fidelity.reference.name(),
            stack.end_description()
        ),
    };
    format!("{lacking}{excess}")
}

fn table_rows(rows: Vec<AlignedRow<'_>>) -> Vec<StackTableRow> {
    let own = |side: Option<&str>| side.map(ToOwned::to_owned);
    rows.into_iter().map(|row| StackTableRow { left: own(row.left), right: own(row.right) }).collect()
}

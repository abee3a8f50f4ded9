//! Turns what the parsers read into the probes' part of the result document.

use crate::arch::ArchRow;
use crate::document::{FetchedResult, ProbeResult, ReferenceKind, StackResult};
use crate::fidelity::{MeasuredStack, References};
use crate::foreign::NUMBER_MOST;
use crate::normalize::{self, normalize};
use crate::stack::{ParsedCapture, Stack, State, count};

/// The parsed capture of one probe.
#[derive(Clone, Debug)]
pub struct ParsedProbe {
    /// The probe's name.
    pub name: String,
    /// The tracing mechanism: `ftrace`, `kprobe`, `perf`, `text`, or `gdb` for the truth.
    pub kind: String,
    /// What the parser read.
    pub parsed: ParsedCapture,
}

/// Builds the results of all probes of a run, in order. Each stack is measured against gdb's stack of the
/// same event (the truth) or, if there is none, against perf's where perf can stand in; never against a stack
/// of its own mechanism.
pub fn probe_results(recorded: &[ParsedProbe], row: &ArchRow) -> Vec<ProbeResult> {
    let stands_in = |reference| reference == ReferenceKind::Gdb || row.perf_finds_callers;
    let references = [ReferenceKind::Gdb, ReferenceKind::Perf].map(|reference| {
        let of_kind = |probe: &&ParsedProbe| probe.kind == reference.name() && stands_in(reference);
        let probes = recorded.iter().filter(of_kind);
        let stacks = probes.flat_map(|probe| &probe.parsed.stacks).map(|(stack, _)| stack);
        (reference.name(), References::new(stacks, reference, row))
    });
    let measure = |stack: &Stack, kind: &str| {
        let mut better = references.iter().take_while(|(reference, _)| *reference != kind);
        better.find_map(|(_, references)| references.measure(stack))
    };
    recorded.iter().map(|probe| probe_result(probe, row, |stack| measure(stack, &probe.kind))).collect()
}

/// The parts of a stack that a reader sees. Stacks that agree in all of them are counted as one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct DisplayedStack {
    stack: Stack,
    state: State,
    ends_at: Option<String>,
    measure: Option<MeasuredStack>,
}

fn probe_result(
    probe: &ParsedProbe,
    row: &ArchRow,
    measure: impl Fn(&Stack) -> Option<MeasuredStack>,
) -> ProbeResult {
    let ParsedCapture { events, lost, stacks, arguments, warnings } = &probe.parsed;
    // A guest may tell any number; the document has to be read again, and its counts to be added up.
    let bounded = |count: u64| count.min(NUMBER_MOST);
    // State and fidelity need the addresses that the normalisation forgets, so they come first.
    let seen = stacks.iter().map(|(stack, number)| {
        let (state, ends_at) = stack.state(row);
        let measure = measure(stack);
        (DisplayedStack { stack: normalize(stack.clone()), state, ends_at, measure }, *number)
    });
    let stacks = count(seen).into_iter().map(|(seen, count)| StackResult {
        count: bounded(count),
        task: seen.stack.task,
        event: seen.stack.event,
        frames: seen.stack.frames.iter().map(|frame| frame.name()).collect(),
        state: seen.state,
        ends_at: seen.ends_at,
        fidelity: seen.measure.as_ref().map(|measure| measure.fidelity),
        differences: seen.measure.map(|measure| measure.differences).unwrap_or_default(),
    });
    let arguments = count(arguments.iter().cloned().map(|(one, number)| (normalize::fetched(one), number)));
    let arguments = arguments.into_iter().map(|(one, count)| FetchedResult {
        count: bounded(count),
        event: one.event,
        text: one.text,
    });
    ProbeResult {
        name: probe.name.clone(),
        kind: probe.kind.clone(),
        events: bounded(*events),
        lost: bounded(*lost),
        warnings: warnings.clone(),
        left_out_because: None,
        stacks: stacks.collect(),
        arguments: arguments.collect(),
    }
}

#[cfg(test)]
mod tests;

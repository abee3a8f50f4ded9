//! From what the parsers read to the probes' part of the result document.

use crate::arch::ArchRow;
use crate::document::{ArgumentsResult, Fidelity, ProbeResult, Reference, StackResult};
use crate::fidelity;
use crate::normalize::{self, normalize};
use crate::stack::{Parsed, Stack, State, count};

/// What one probe brought home.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The probe's name.
    pub name: String,
    /// The mechanism: `ftrace`, `perf`, `gdb`.
    pub kind: String,
    /// What its parser read.
    pub parsed: Parsed,
}

/// The results of all probes of a run, in their order. Each stack is measured against the truth, gdb's, or
/// else perf's, where there is one of the same event; never against its own mechanism.
pub fn probe_results(recorded: &[Recorded], row: &ArchRow) -> Vec<ProbeResult> {
    let references = [("gdb", Reference::Gdb), ("perf", Reference::Perf)].map(|(kind, reference)| {
        let probes = recorded.iter().filter(|probe| probe.kind == kind);
        let stacks = probes.flat_map(|probe| &probe.parsed.stacks).map(|(stack, _)| stack.clone());
        (kind, reference, stacks.collect::<Vec<_>>())
    });
    let measure = |stack: &Stack, kind: &str| {
        let better = references.iter().take_while(|(reference, ..)| *reference != kind);
        better.into_iter().find_map(|(_, kind, stacks)| fidelity::against(stack, stacks, *kind, row))
    };
    recorded.iter().map(|probe| probe_result(probe, row, |stack| measure(stack, &probe.kind))).collect()
}

/// All that a reader sees of a stack: stacks that agree in it are one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Seen {
    stack: Stack,
    state: State,
    ends_at: Option<String>,
    fidelity: Option<Fidelity>,
}

fn probe_result(
    probe: &Recorded,
    row: &ArchRow,
    measure: impl Fn(&Stack) -> Option<Fidelity>,
) -> ProbeResult {
    let Parsed { events, lost, stacks, arguments, warnings } = &probe.parsed;
    // State and fidelity need the addresses that the normalisation forgets, so they come first.
    let seen = stacks.iter().map(|(stack, number)| {
        let (state, ends_at) = stack.state(row);
        let fidelity = measure(stack);
        (Seen { stack: normalize(stack.clone()), state, ends_at, fidelity }, *number)
    });
    let stacks = count(seen).into_iter().map(|(seen, count)| StackResult {
        count,
        task: seen.stack.task,
        event: seen.stack.event,
        frames: seen.stack.frames.iter().map(|frame| frame.name()).collect(),
        state: seen.state,
        ends_at: seen.ends_at,
        fidelity: seen.fidelity,
    });
    let arguments = count(arguments.iter().cloned().map(|(one, number)| (normalize::fetched(one), number)));
    let arguments =
        arguments.into_iter().map(|(one, count)| ArgumentsResult { count, event: one.event, text: one.text });
    ProbeResult {
        name: probe.name.clone(),
        kind: probe.kind.clone(),
        events: *events,
        lost: *lost,
        warnings: warnings.clone(),
        absent: None,
        stacks: stacks.collect(),
        arguments: arguments.collect(),
    }
}

#[cfg(test)]
#[path = "results_tests.rs"]
mod tests;

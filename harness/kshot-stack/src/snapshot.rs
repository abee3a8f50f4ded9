//! The text of a snapshot, and the outcomes of comparing it; kshot's `baseline` compares.

use std::fmt::Write as _;

use crate::document::{FetchedResult, ProbeResult, StackResult};
use crate::text::count_noun;

/// The comparison of a run with its snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The texts are equal.
    Same,
    /// The texts differ.
    Drift {
        /// A unified diff from the snapshot to the run.
        diff: String,
    },
    /// There is no snapshot.
    Missing,
}

/// What a snapshot holds, for people: a block a stack, a line a frame; no address, pid, time or path.
///
/// ```text
/// 5 events
///
/// 5 x eoe_filter, register_netdevice: truncated at ftrace_graph_call, fidelity 0 of 4 (perf)
///     ftrace_graph_call
///     0
/// ```
///
/// What kprobe events fetched stands at the end, a line each: `5 x tsk: nr_entries=0 skip=5`.
pub fn snapshot_text(probe: &ProbeResult) -> String {
    let mut text = count_noun(probe.events, "event");
    if probe.lost > 0 {
        // Not how many: that differs between runs.
        text.push_str(", others lost");
    }
    text.push('\n');
    for stack in &probe.stacks {
        let StackResult { count, task, event, frames, .. } = stack;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{count} x {task}, {event}: {}", ending(stack));
        for frame in frames {
            let _ = writeln!(text, "    {frame}");
        }
    }
    if !probe.arguments.is_empty() {
        text.push('\n');
    }
    for arguments in &probe.arguments {
        let FetchedResult { count, event, text: fetched } = arguments;
        let _ = writeln!(text, "{count} x {event}: {fetched}");
    }
    text
}

fn ending(stack: &StackResult) -> String {
    let fidelity = stack.fidelity.map(|fidelity| format!(", fidelity {fidelity}"));
    format!("{}{}", stack.end_description(), fidelity.unwrap_or_default())
}

#[cfg(test)]
mod tests;

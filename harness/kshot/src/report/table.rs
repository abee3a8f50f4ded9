//! Result tables for a terminal.

use std::io;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, ContentArrangement, Table};
use rustix::termios::tcgetwinsize;

use super::reference::{MeasuredAgainst, reference};
use kshot_stack::document::{Fidelity, ProbeResult, RunDocument, StackResult};
use kshot_stack::stack::State;
use kshot_stack::stack::count;
use kshot_stack::text::count_noun;

/// A run for a terminal: the verdict and its reasons, a row for each kind of stack, and each stack beside its
/// reference.
pub fn run_table(document: &RunDocument) -> String {
    let kernel = &document.kernel;
    let mut text =
        format!("{} on {} ({}, {})\n", document.scenario, kernel.name, kernel.release, kernel.arch);
    text.push_str(&stacks_table(document));
    text.push_str(&format!("verdict: {}\n", document.verdict.name()));
    for why in &document.reasons {
        text.push_str(&format!("{}\n", why.indented()));
    }
    let timings = document.timings_ms;
    text.push_str(&format!(
        "time: {} start{}: boot {} ms, ssh {} ms, steps {} ms, collect {} ms, total {} ms\n",
        document.start.name(),
        document.cold_because.as_ref().map(|why| format!(" ({why})")).unwrap_or_default(),
        timings.boot,
        timings.ssh,
        timings.steps,
        timings.collect,
        timings.total
    ));
    text
}

/// The stacks of a run for people: a row for each kind of stack of each probe, each stack that has a
/// reference beside it, and what is to be noted.
pub fn stacks_table(document: &RunDocument) -> String {
    let mut text = String::new();
    let mut rows = new_table();
    rows.set_header(["probe", "events", "stacks", "task", "event", "state", "ends at", "fidelity"]);
    for probe in &document.probes {
        if probe.left_out_because.is_some() {
            rows.add_row([&probe.name, "left out", "", "", "", "", "", ""]);
        } else if probe.stacks.is_empty() {
            rows.add_row([&probe.name, &probe.events.to_string(), "0", "", "", "", "", ""]);
        }
        for (index, stack) in probe.stacks.iter().enumerate() {
            let (name, events) =
                if index == 0 { (probe.name.clone(), probe.events.to_string()) } else { Default::default() };
            rows.add_row([
                name,
                events,
                stack.count.to_string(),
                stack.task.clone(),
                stack.event.clone(),
                stack.state.name().into(),
                or_dash(stack.ends_at.clone()),
                or_dash(stack.fidelity.map(|fidelity| fidelity.to_string())),
            ]);
        }
    }
    if !document.probes.is_empty() {
        text.push_str(&format!("{rows}\n"));
    }
    for probe in &document.probes {
        for stack in &probe.stacks {
            if let Some(measured) = reference(document, probe, stack) {
                text.push_str(&side_by_side(probe, stack, &measured));
            }
        }
    }
    for probe in &document.probes {
        for stack in &probe.stacks {
            if let Some(excess) = stack.excess() {
                text.push_str(&format!(
                    "note: {}: {} in {}: {excess}\n",
                    probe.name, stack.event, stack.task
                ));
            }
        }
        if probe.lost > 0 {
            text.push_str(&format!("note: {} lost {}\n", probe.name, count_noun(probe.lost, "event")));
        }
        for warning in &probe.warnings {
            let line =
                format!("note: {}: {} x {}: {}\n", probe.name, warning.count, warning.kind, warning.example);
            text.push_str(&line);
        }
    }
    for event in &document.console {
        text.push_str(&format!("console: {}: {}\n", event.kind, event.line));
    }
    text
}

/// Many runs in one table: a row for each way in which the stacks of a probe end, with their fidelity.
pub fn runs_table(documents: &[RunDocument]) -> String {
    let mut rows = new_table();
    rows.set_header(["scenario", "kernel", "probe", "stacks", "state", "ends at", "fidelity", "verdict"]);
    let mut last = "";
    for document in documents {
        let scenario = if document.scenario == last { "" } else { &document.scenario };
        last = &document.scenario;
        let mut run = [scenario, &document.kernel.name, document.verdict.name()].map(ToOwned::to_owned);
        let mut add = |probe: &str, [stacks, state, ends_at, fidelity]: [String; 4]| {
            // Printed once for all rows of a run.
            let [scenario, kernel, verdict] = std::mem::take(&mut run);
            rows.add_row([scenario, kernel, probe.into(), stacks, state, ends_at, fidelity, verdict]);
        };
        let alone = |stacks: &str| [stacks.into(), String::new(), String::new(), String::new()];
        if document.probes.is_empty() {
            add("", alone(""));
        }
        for probe in &document.probes {
            match probe.stacks.as_slice() {
                [] if probe.left_out_because.is_some() => add(&probe.name, alone("left out")),
                [] => add(&probe.name, alone("0")),
                stacks => endings(stacks).into_iter().for_each(|ending| add(&probe.name, ending)),
            }
        }
    }
    format!("{rows}\n")
}

/// Groups the stacks of a probe by their end: count, state, last frame and fidelity.
fn endings(stacks: &[StackResult]) -> Vec<[String; 4]> {
    let endings =
        count(stacks.iter().map(|stack| ((stack.state, &stack.ends_at, stack.fidelity), stack.count)));
    let row = |((state, ends_at, fidelity), count): ((State, &Option<String>, Option<Fidelity>), u64)| {
        let fidelity = fidelity.map(|fidelity| fidelity.to_string());
        [count.to_string(), state.name().into(), or_dash(ends_at.clone()), or_dash(fidelity)]
    };
    endings.into_iter().map(row).collect()
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".into())
}

fn side_by_side(probe: &ProbeResult, stack: &StackResult, measured: &MeasuredAgainst<'_>) -> String {
    let MeasuredAgainst { probe: other, reference, rows } = measured;
    let mut table = new_table();
    table.set_header([
        Cell::new(format!("{} ({} x {})", probe.name, stack.count, stack.task)),
        Cell::new(format!("{} ({} x {})", other.name, reference.count, reference.task)),
    ]);
    for row in rows {
        table.add_row([row.left.unwrap_or("(missing)"), row.right.unwrap_or("")]);
    }
    format!("{table}\n")
}

/// A table as all of kshot's are; on a terminal as wide as that, at most.
pub fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    // A terminal that does not know its size says 0.
    if let Some(width) = tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col).filter(|width| *width > 0) {
        table.set_width(width);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_runs::{broken, document, stack, whole};

    #[test]
    fn many_runs_show_each_end_once_and_the_scenario_once() {
        let boot = |task: &str| StackResult {
            fidelity: None,
            differences: Vec::new(),
            count: 1,
            ..stack(task, &["ftrace_graph_call"], State::Truncated, 0)
        };
        let mut stock = document("mips64-6.1", Some(vec![boot("swapper"), boot("init"), broken()]));
        let mut gdb = stock.probes[0].clone();
        gdb.name = "gdb".into();
        gdb.stacks.clear();
        gdb.left_out_because = Some("there is no DWARF".into());
        stock.probes.insert(0, gdb);
        let runs = [stock, document("mips64-6.1-fixed", Some(vec![whole()])), document("mips64-7.3", None)];
        insta::assert_snapshot!(runs_table(&runs), @"
        ┌─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
        │ scenario                     kernel             probe    stacks     state       ends at             fidelity        verdict │
        ╞═════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════╡
        │ tunsetiff/func_stack_trace   mips64-6.1         gdb      left out                                                   match   │
        │                                                 ftrace   2          truncated   ftrace_graph_call   -                       │
        │                                                 ftrace   5          truncated   ftrace_graph_call   0 of 4 (perf)           │
        │                              mips64-6.1-fixed   ftrace   5          complete    syscall_common      4 of 4 (perf)   match   │
        │                              mips64-7.3                                                                             match   │
        └─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
        ");
    }
}

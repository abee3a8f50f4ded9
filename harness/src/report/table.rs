//! Result tables for a terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, ContentArrangement, Table};

use super::align::align;
use crate::document::{Document, ProbeResult, StackResult};

/// One run for people: the verdict and its reasons, a row for each kind of stack of each probe, and each
/// stack that has a reference beside it.
pub fn table(document: &Document) -> String {
    let kernel = &document.kernel;
    let mut text =
        format!("{} on {} ({}, {})\n", document.scenario, kernel.name, kernel.release, kernel.arch);
    let mut rows = new_table();
    rows.set_header(["probe", "events", "stacks", "task", "event", "state", "ends at", "fidelity"]);
    for probe in &document.probes {
        if probe.absent.is_some() {
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
                stack.ends_at.clone().unwrap_or_else(|| "-".into()),
                stack.fidelity.map_or_else(|| "-".into(), |fidelity| fidelity.to_string()),
            ]);
        }
    }
    if !document.probes.is_empty() {
        text.push_str(&format!("{rows}\n"));
    }
    for probe in &document.probes {
        for stack in &probe.stacks {
            if let Some((reference, truth)) = reference(document, probe, stack) {
                text.push_str(&side_by_side(probe, stack, reference, truth));
            }
        }
    }
    for probe in &document.probes {
        if probe.lost > 0 {
            text.push_str(&format!("note: {} lost {} events\n", probe.name, probe.lost));
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
    text.push_str(&format!("verdict: {}\n", document.verdict.name()));
    for why in &document.why {
        text.push_str(&format!("  {}\n", why.replace('\n', "\n  ")));
    }
    let timings = document.timings_ms;
    text.push_str(&format!(
        "time: boot {} ms, ssh {} ms, steps {} ms, collect {} ms, total {} ms\n",
        timings.boot, timings.ssh, timings.steps, timings.collect, timings.total
    ));
    text
}

/// Many runs, a row each.
pub fn summary(documents: &[Document]) -> String {
    let mut rows = new_table();
    rows.set_header(["scenario", "kernel", "probe", "stacks", "state", "ends at", "fidelity", "verdict"]);
    for document in documents {
        let mut first = true;
        let mut add = |probe: String, stack: Option<&StackResult>| {
            let once = |value: &str| if first { value.to_owned() } else { String::new() };
            rows.add_row([
                once(&document.scenario),
                once(&document.kernel.name),
                probe,
                stack.map_or_else(|| "0".into(), |stack| stack.count.to_string()),
                stack.map_or("", |stack| stack.state.name()).into(),
                stack.and_then(|stack| stack.ends_at.clone()).unwrap_or_default(),
                stack
                    .and_then(|stack| stack.fidelity)
                    .map_or_else(String::new, |fidelity| fidelity.to_string()),
                once(document.verdict.name()),
            ]);
            first = false;
        };
        if document.probes.is_empty() {
            add(String::new(), None);
        }
        for probe in &document.probes {
            if probe.stacks.is_empty() {
                add(probe.name.clone(), None);
            }
            for stack in &probe.stacks {
                add(probe.name.clone(), Some(stack));
            }
        }
    }
    format!("{rows}\n")
}

/// The stack that a stack's fidelity was taken against, as the fidelity names its probe.
fn reference<'a>(
    document: &'a Document,
    probe: &ProbeResult,
    stack: &StackResult,
) -> Option<(&'a ProbeResult, &'a StackResult)> {
    let wanted = stack.fidelity?.reference;
    let function = |event: &str| event.rsplit(':').next().map(ToOwned::to_owned);
    document
        .probes
        .iter()
        .filter(|other| other.name != probe.name && other.kind == wanted.name())
        .flat_map(|other| other.stacks.iter().map(move |candidate| (other, candidate)))
        .find(|(_, candidate)| {
            candidate.task == stack.task && function(&candidate.event) == function(&stack.event)
        })
}

fn side_by_side(
    probe: &ProbeResult,
    stack: &StackResult,
    other: &ProbeResult,
    truth: &StackResult,
) -> String {
    let mut rows = new_table();
    rows.set_header([
        Cell::new(format!("{} ({} x {})", probe.name, stack.count, stack.task)),
        Cell::new(format!("{} ({} x {})", other.name, truth.count, truth.task)),
    ]);
    for (left, right) in align(&stack.frames, &truth.frames) {
        rows.add_row([left.unwrap_or("(missing)"), right.unwrap_or("")]);
    }
    format!("{rows}\n")
}

/// A table as all of kshot's are.
pub fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

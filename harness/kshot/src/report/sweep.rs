//! Tables of sweeps, for a terminal.

use super::new_table;
use kshot_stack::sweep::document::{BreakKind, StackBreak, SweepDocument};
use kshot_stack::text::count_noun;

/// Several sweeps, a row each.
pub fn sweep_table(documents: &[SweepDocument]) -> String {
    let mut rows = new_table();
    rows.set_header([
        "kernel",
        "functions armed",
        "compared",
        "traced truly",
        "partly",
        "never",
        "stacks compared",
        "whole",
    ]);
    for document in documents {
        let (functions, stacks) = (document.findings.functions, document.findings.stacks);
        rows.add_row([
            document.kernel.name.clone(),
            functions.armed.to_string(),
            functions.compared.to_string(),
            share(functions.whole, functions.compared),
            functions.partly.to_string(),
            functions.never.to_string(),
            stacks.compared.to_string(),
            share(stacks.whole, stacks.compared),
        ]);
    }
    format!("{rows}\n")
}

/// A sweep for a terminal: where stacks break, and which could not be compared.
pub fn sweep_breaks(document: &SweepDocument) -> String {
    let (kernel, findings) = (&document.kernel, &document.findings);
    let mut text = format!("{} ({}, {})\n", kernel.name, kernel.release, kernel.arch);
    if findings.breaks.is_empty() {
        text.push_str("no stack breaks\n");
    } else {
        let mut rows = new_table();
        rows.set_header(["functions", "stacks", "how they break", "for one"]);
        for one in &findings.breaks {
            rows.add_row([
                one.functions.to_string(),
                one.stacks.to_string(),
                break_description(one),
                one.examples.join(", "),
            ]);
        }
        text.push_str(&format!("{rows}\n"));
    }
    for one in &findings.no_truth {
        let end = one.ends_at.as_deref().unwrap_or("nothing");
        text.push_str(&format!(
            "not compared: {} of {}, whose truth ends at {end}\n",
            count_noun(one.stacks, "stack"),
            count_noun(one.functions, "function")
        ));
    }
    for event in &document.console {
        text.push_str(&format!("console: {}: {}\n", event.kind, event.line));
    }
    text
}

fn break_description(one: &StackBreak) -> String {
    match (one.kind, one.at.as_deref()) {
        (BreakKind::Cut, Some(at)) => format!("end at {at}"),
        (BreakKind::Cut, None) => "are empty".into(),
        (BreakKind::Gap, Some(at)) => format!("leave out the caller of {at}"),
        (BreakKind::Gap, None) => "leave out the traced function".into(),
        (BreakKind::Wrong, at) => format!("hold {}, which the truth does not have", at.unwrap_or("?")),
    }
}

/// A count with its percentage: `1962 (97.3 %)`.
fn share(some: u64, all: u64) -> String {
    match some.saturating_mul(1000).checked_div(all) {
        Some(thousandths) => format!("{some} ({}.{} %)", thousandths / 10, thousandths % 10),
        None => some.to_string(),
    }
}

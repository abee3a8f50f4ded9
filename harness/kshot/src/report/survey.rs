//! Surveys as tables, for a terminal and as Markdown.

use std::fmt::Write as _;

use super::new_table;
use kshot_stack::survey::{Finding, SurveyCell, SurveyDocument};

/// A survey for a terminal: a row a situation, a column a reporter.
pub fn survey_table(document: &SurveyDocument) -> String {
    let kernel = &document.kernel;
    let reporters = measured_reporters(document);
    let mut rows = new_table();
    rows.set_header([&["situation"][..], &reporters].concat());
    for situation in document.situations() {
        let cell = |reporter: &&str| {
            document.cell(situation, reporter).map_or_else(String::new, |cell| cell.finding.to_string())
        };
        rows.add_row(std::iter::once(situation.to_owned()).chain(reporters.iter().map(cell)));
    }
    format!("{} ({}, {})\n{rows}\n{}", kernel.name, kernel.release, kernel.arch, reasons(document))
}

/// The reporters of which a cell was measured.
fn measured_reporters(document: &SurveyDocument) -> Vec<&str> {
    let is_measured = |cell: &SurveyCell, reporter: &str| {
        cell.reporter == reporter && !matches!(cell.finding, Finding::NotMeasured { .. })
    };
    let mut reporters = document.reporters();
    reporters.retain(|reporter| document.cells.iter().any(|cell| is_measured(cell, reporter)));
    reporters
}

/// Cells that were not measured for one reason.
struct Unmeasured<'a> {
    reporter: &'a str,
    because: &'a str,
    situations: Vec<&'a str>,
}

/// Why cells were not measured, a line for each reporter and reason, with the situations where it is not all
/// of them.
fn reasons(document: &SurveyDocument) -> String {
    let mut reasons: Vec<Unmeasured<'_>> = Vec::new();
    for cell in &document.cells {
        let Finding::NotMeasured { because } = &cell.finding else { continue };
        let same = reasons.iter_mut().find(|one| one.reporter == cell.reporter && one.because == because);
        match same {
            Some(same) => same.situations.push(&cell.situation),
            None => reasons.push(Unmeasured {
                reporter: &cell.reporter,
                because,
                situations: vec![&cell.situation],
            }),
        }
    }
    let line = |Unmeasured { reporter, because, situations }: Unmeasured<'_>| {
        let asked = document.cells.iter().filter(|cell| cell.reporter == reporter).count();
        let situations = match situations.len() == asked {
            true => String::new(),
            false => format!(", {}", situations.join(", ")),
        };
        let because = because.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        format!("not measured: {reporter}{situations}: {because}\n")
    };
    reasons.into_iter().map(line).collect()
}

/// Surveys as Markdown: how many situations each reporter tells whole on each kernel, then each kernel's
/// table.
pub fn survey_markdown(documents: &[SurveyDocument]) -> String {
    let mut text = String::new();
    let mut reporters: Vec<&str> = Vec::new();
    for reporter in documents.iter().flat_map(measured_reporters) {
        if !reporters.contains(&reporter) {
            reporters.push(reporter);
        }
    }
    if documents.is_empty() {
        return text;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| kernel | release | {} |\n|---|---|{}",
        reporters.join(" | "),
        "---|".repeat(reporters.len())
    );
    for document in documents {
        let counts: Vec<String> = reporters.iter().map(|reporter| share(document, reporter)).collect();
        let (kernel, counts) = (&document.kernel, counts.join(" | "));
        let _ = writeln!(text, "| {} | {} | {counts} |", kernel.name, kernel.release);
    }
    for document in documents {
        let (kernel, reporters) = (&document.kernel, measured_reporters(document));
        let _ = writeln!(text, "\n## {}\n\n{}, QEMU {}\n", kernel.name, kernel.release, document.qemu);
        let _ = writeln!(
            text,
            "| situation | {} |\n|---|{}",
            reporters.join(" | "),
            "---|".repeat(reporters.len())
        );
        for situation in document.situations() {
            let cells = reporters.iter().map(|reporter| match document.cell(situation, reporter) {
                Some(cell) => markdown(&cell.finding),
                None => String::new(),
            });
            let function = document.cells.iter().find(|cell| cell.situation == situation);
            let function = function.map_or("", |cell| &cell.function);
            let _ =
                writeln!(text, "| {situation} (`{function}`) | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        let reasons = reasons(document);
        if !reasons.is_empty() {
            let _ = write!(text, "\n{}", reasons.replace("not measured: ", "- not measured: "));
        }
    }
    text
}

/// "5 of 7": the situations that a reporter tells whole, of those that were measured.
fn share(document: &SurveyDocument, reporter: &str) -> String {
    let findings = document.cells.iter().filter(|cell| cell.reporter == reporter).map(|cell| &cell.finding);
    let measured: Vec<_> = findings
        .filter(|finding| !matches!(finding, Finding::NotMeasured { .. } | Finding::NoTruth { .. }))
        .collect();
    let whole = measured.iter().filter(|finding| matches!(finding, Finding::Complete { .. })).count();
    if measured.is_empty() { "-".into() } else { format!("{whole} of {}", measured.len()) }
}

/// A finding in a cell: what is not whole stands out.
fn markdown(finding: &Finding) -> String {
    let text = finding.to_string().replace('|', "\\|").replace('\n', " ");
    if matches!(finding, Finding::Complete { .. }) { text } else { format!("**{text}**") }
}

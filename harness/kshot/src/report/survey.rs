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
    for situation in measured_situations(document) {
        let cell = |reporter: &&str| {
            document.cell(situation, reporter).map_or_else(String::new, |cell| cell.finding.to_string())
        };
        rows.add_row(std::iter::once(situation.to_owned()).chain(reporters.iter().map(cell)));
    }
    format!("{} ({}, {})\n{rows}\n{}", kernel.name, kernel.release, kernel.arch, reasons(document))
}

/// The reporters with at least one measured cell.
fn measured_reporters(document: &SurveyDocument) -> Vec<&str> {
    let mut reporters = document.reporters();
    reporters
        .retain(|reporter| document.cells.iter().any(|cell| cell.reporter == *reporter && is_measured(cell)));
    reporters
}

/// The situations with at least one measured cell.
fn measured_situations(document: &SurveyDocument) -> Vec<&str> {
    let mut situations = document.situations();
    situations.retain(|situation| {
        document.cells.iter().any(|cell| cell.situation == *situation && is_measured(cell))
    });
    situations
}

fn is_measured(cell: &SurveyCell) -> bool {
    !matches!(cell.finding, Finding::NotMeasured { .. })
}

/// Cells that were not measured, all for the same reason.
#[derive(PartialEq)]
struct Unmeasured<'a> {
    because: &'a str,
    /// The situations of the cells; empty if the reporter was measured in no situation at all.
    situations: Vec<&'a str>,
}

/// Why cells were not measured. One line per situation in which no reporter was measured, with the reason of
/// its first cell; one per reporter that was measured in no situation, likewise; and one per reason for the
/// other cells.
fn reasons(document: &SurveyDocument) -> String {
    let (rows, columns) = (measured_situations(document), measured_reporters(document));
    let mut lines = String::new();
    for situation in document.situations().into_iter().filter(|situation| !rows.contains(situation)) {
        let reason = document.cells.iter().find(|cell| cell.situation == situation).and_then(because);
        lines += &format!("not measured: {situation}: {}\n", one_line(reason.unwrap_or_default()));
    }
    let mut groups: Vec<(Vec<&str>, Unmeasured<'_>)> = Vec::new();
    for reporter in document.reporters() {
        for one in unmeasured(document, reporter, &rows, columns.contains(&reporter)) {
            match groups.iter_mut().find(|(_, known)| *known == one) {
                Some((reporters, _)) => reporters.push(reporter),
                None => groups.push((vec![reporter], one)),
            }
        }
    }
    for (reporters, Unmeasured { because, situations }) in groups {
        let situations =
            if situations.is_empty() { String::new() } else { format!(" in {}", situations.join(", ")) };
        lines += &format!("not measured: {}{situations}: {}\n", reporters.join(", "), one_line(because));
    }
    lines
}

/// Why a reporter was not measured in situations in which others were.
fn unmeasured<'a>(
    document: &'a SurveyDocument,
    reporter: &str,
    rows: &[&str],
    is_measured: bool,
) -> Vec<Unmeasured<'a>> {
    let mut found: Vec<Unmeasured<'a>> = Vec::new();
    let is_asked = |cell: &&SurveyCell| cell.reporter == reporter && rows.contains(&cell.situation.as_str());
    for cell in document.cells.iter().filter(is_asked) {
        let Some(because) = because(cell) else { continue };
        if !is_measured {
            return vec![Unmeasured { because, situations: Vec::new() }];
        }
        match found.iter_mut().find(|one| one.because == because) {
            Some(one) => one.situations.push(&cell.situation),
            None => found.push(Unmeasured { because, situations: vec![&cell.situation] }),
        }
    }
    found
}

fn because(cell: &SurveyCell) -> Option<&str> {
    match &cell.finding {
        Finding::NotMeasured { because } => Some(because),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
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
        for situation in measured_situations(document) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(cells: &[(&str, &str, Option<&str>)]) -> SurveyDocument {
        let finding = |because: &Option<&str>| match because {
            Some(because) => serde_json::json!({ "finding": "not-measured", "because": because }),
            None => serde_json::json!({ "finding": "complete", "frames": 5 }),
        };
        let cell = |(situation, reporter, because): &(&str, &str, Option<&str>)| {
            serde_json::json!({
                "situation": situation, "function": "f", "reporter": reporter, "finding": finding(because),
                "folder": null,
            })
        };
        let cells: Vec<_> = cells.iter().map(cell).collect();
        let kernel =
            serde_json::json!({ "name": "k", "release": "6.1", "arch": "arm64", "image_sha256": "0" });
        serde_json::from_value(
            serde_json::json!({ "schema": 1, "kernel": kernel, "qemu": "7", "cells": cells }),
        )
        .unwrap()
    }

    #[test]
    fn what_was_not_measured_is_told_once_for_each_reason() {
        let document = survey(&[
            ("leaf", "perf", None),
            ("leaf", "bpf", Some("no BPF")),
            ("leaf", "fentry", Some("no BPF of f")),
            ("idle", "perf", None),
            ("idle", "bpf", Some("no BPF")),
            ("idle", "fentry", Some("no BPF of g")),
            ("fault", "perf", Some("the guest\n  died")),
            ("fault", "bpf", None),
            ("NMI", "perf", Some("none here")),
            ("NMI", "bpf", Some("no BPF")),
        ]);
        assert_eq!(
            reasons(&document),
            "not measured: NMI: none here\n\
             not measured: perf in fault: the guest died\n\
             not measured: bpf in leaf, idle: no BPF\n\
             not measured: fentry: no BPF of f\n"
        );
        let table = survey_table(&document);
        assert!(!table.contains("NMI ") && table.contains("leaf"), "{table}");
    }
}

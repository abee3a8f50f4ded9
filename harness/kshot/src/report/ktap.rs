//! `results.ktap`: KTAP version 1 (Documentation/dev-tools/ktap.rst), a test a scenario, a subtest a kernel.

use std::fmt::Write as _;

use kshot_stack::document::Reason;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{Pair, PairStatus};
use kshot_stack::text::printable;

/// The text of the file.
pub(super) fn text(report: &NightReport) -> String {
    let night = &report.night;
    let rows: Vec<(&str, Vec<&Pair>)> = night
        .scenarios
        .iter()
        .map(|one| (one.id.as_str(), night.pairs.iter().filter(|pair| pair.scenario == one.id).collect()))
        .collect();
    // Writing to a string cannot fail.
    let mut text = format!("KTAP version 1\n# kshot {}: {}\n", night.name, report.headline());
    let _ = writeln!(text, "1..{}", rows.len());
    for (index, (id, pairs)) in rows.iter().enumerate() {
        let _ = writeln!(text, "  KTAP version 1\n  # Subtest: {id}\n  1..{}", pairs.len());
        for (number, pair) in pairs.iter().enumerate() {
            text.push_str(&case(report, number + 1, pair));
        }
        let failed = pairs.iter().any(|pair| result(pair.status()).0 == "not ok");
        let skipped = pairs.iter().all(|pair| result(pair.status()).1 == Some("SKIP"));
        let _ = writeln!(
            text,
            "{} {} {id}{}",
            if failed { "not ok" } else { "ok" },
            index + 1,
            if skipped { " # SKIP nothing was reached" } else { "" }
        );
    }
    text
}

fn case(report: &NightReport, number: usize, pair: &Pair) -> String {
    let mut text = String::new();
    let reasons = pair.run().map_or(&[][..], |run| &run.reasons);
    let obstacle = report.night.why_no_verdict(pair);
    let said = obstacle.map_or_else(|| Reason::join(reasons, "\n"), ToOwned::to_owned);
    for line in said.lines() {
        let _ = writeln!(text, "    # {}", printable(line.as_bytes()));
    }
    let (result, directive) = result(pair.status());
    let _ = write!(text, "    {result} {number} {}", pair.kernel);
    match directive {
        Some(directive) => {
            let line = printable(said.lines().next().unwrap_or_default().as_bytes()).replace('#', "");
            let _ = writeln!(text, " # {directive} {}: {line}", pair.status().name());
        }
        None => text.push('\n'),
    }
    text
}

/// A host error does not fail the test: it is skipped, with the reason beside it.
fn result(standing: PairStatus) -> (&'static str, Option<&'static str>) {
    match standing {
        PairStatus::Match => ("ok", None),
        PairStatus::Drift => ("not ok", None),
        PairStatus::Unstable | PairStatus::Inconclusive => ("not ok", Some("ERROR")),
        PairStatus::HostError | PairStatus::NotRun => ("ok", Some("SKIP")),
    }
}

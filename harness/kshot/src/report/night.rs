//! Tables of a night and of a scenario's nights, for a terminal.

use comfy_table::Table;

use super::new_table;
use kshot_stack::document::Reason;
use kshot_stack::night::changes::PastResult;
use kshot_stack::night::results::{ChangeKind, PairChange};
use kshot_stack::night::results::{Night, PairStatus};

/// A night for a terminal: the changes first, then the number of pairs by status.
pub fn night_table(night: &Night) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for kind in ChangeKind::ALL {
        for change in night.changes.iter().filter(|change| change.kind == kind) {
            let mut below: Vec<String> = change
                .possible_causes
                .iter()
                .map(|suspect| format!("  not as it was: {suspect}\n"))
                .collect();
            if let Some(command) = &change.bisect_command {
                below.push(format!("  find the cause: {command}\n"));
            }
            if let Some(since) = &change.since {
                below.push(format!("  since {since}\n"));
            }
            if kind == ChangeKind::CannotTell {
                below.push(format!("  {}\n", why_no_verdict(night, change)));
            }
            // A reason that several changes share is printed once, below the last of them.
            let below = below.concat();
            if below != last {
                text.push_str(&std::mem::replace(&mut last, below));
            }
            text.push_str(&format!("{:<14} {} on {}\n", kind.name(), change.scenario, change.kernel));
        }
    }
    text.push_str(&last);
    let mut table = new_table();
    let mut header = vec!["kernel".to_owned()];
    header.extend(PairStatus::ALL.map(|standing| standing.name().to_owned()));
    table.set_header(header);
    for kernel in &night.kernels {
        let of = |standing| {
            let pairs = night.pairs.iter().filter(|pair| pair.kernel == kernel.name);
            match pairs.filter(|pair| pair.status() == standing).count() {
                0 => String::new(),
                number => number.to_string(),
            }
        };
        let mut row = vec![kernel.name.clone()];
        row.extend(PairStatus::ALL.map(of));
        table.add_row(row);
    }
    text.push_str(&format!("{table}\n"));
    for note in &night.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// The first line of what kept a pair from a verdict.
fn why_no_verdict(night: &Night, change: &PairChange) -> String {
    let Some(pair) = night.pair(&change.scenario, &change.kernel) else { return String::new() };
    let run = pair.run().and_then(|run| run.reasons.first()).map(Reason::headline);
    run.or_else(|| night.why_no_verdict(pair)?.lines().next().map(Into::into)).unwrap_or_default()
}

/// The results of a scenario over many nights; consecutive equal nights share a row.
#[derive(Debug)]
pub struct HistoryTable {
    rows: Vec<[String; 8]>,
}

impl HistoryTable {
    /// Creates the rows from the history of each kernel, the latest night first.
    pub fn of(kernels: &[(String, Vec<PastResult>)]) -> Self {
        let mut rows: Vec<[String; 8]> = Vec::new();
        for (kernel, past) in kernels {
            let mut last: Option<(&PastResult, usize)> = None;
            for one in past {
                match last {
                    Some((before, at)) if same(before, one) => rows[at][1].clone_from(&one.night),
                    _ => {
                        last = Some((one, rows.len()));
                        rows.push(row(kernel, one));
                    }
                }
            }
        }
        Self { rows }
    }

    /// The rows in a table.
    pub fn text(&self, mut table: Table) -> String {
        table.set_header(["kernel", "since", "to", "verdict", "release", "image", "QEMU", "kshot"]);
        for row in &self.rows {
            table.add_row(row);
        }
        format!("{table}\n")
    }
}

fn row(kernel: &str, past: &PastResult) -> [String; 8] {
    let run = past.run.as_ref();
    let of = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".into());
    let image = run.map(|run| run.kernel.image_sha256.chars().take(12).collect());
    [
        kernel.into(),
        past.night.clone(),
        past.night.clone(),
        past.status.name().into(),
        of(run.map(|run| &run.kernel.release)),
        of(image.as_ref()),
        of(run.map(|run| &run.qemu)),
        past.harness.clone(),
    ]
}

fn same(one: &PastResult, other: &PastResult) -> bool {
    let versions = |past: &PastResult| past.run.as_ref().map(|run| (run.kernel.clone(), run.qemu.clone()));
    one.status == other.status
        && one.harness == other.harness
        && one.probes == other.probes
        && versions(one) == versions(other)
}

//! The reports of a bisection: for a terminal, as Markdown, and as a mail to a maintainer.

use std::fmt::Write as _;
use std::time::Duration;

use super::driver::{BisectError, shorten_reason};
use super::log::{BisectRequest, CandidateSource, LogEntry};
use super::plan::{BisectionResult, Candidate, ChangePoint, Purpose, SearchEvent};
use super::versions::UpstreamVersion;
use crate::report::new_table;
use kshot_stack::blame::{Blame, Blamed, error_chain};

/// The data of a bisection's report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BisectReport<'a> {
    /// The request.
    pub(crate) header: &'a BisectRequest,
    /// The log entries.
    pub(crate) records: &'a [LogEntry],
    /// The result.
    pub(crate) outcome: &'a BisectionResult,
    /// The evidence for the change.
    pub(crate) evidence: &'a ChangeEvidence,
}

/// The stacks before and after the culprit, and the culprit itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeEvidence {
    /// The stacks of a run before the change.
    pub(crate) before: String,
    /// The stacks of a run after the change.
    pub(crate) after: String,
    /// The commit as git shows it, or the diff between the sources of two versions.
    pub(crate) commit: String,
    /// The author of the commit, to whom the mail is addressed.
    pub(crate) author: String,
    /// Why parts of the evidence are missing, one line each.
    pub(crate) missing: Vec<String>,
}

impl ChangeEvidence {
    /// A part of the evidence; if it cannot be had, an empty text, and the reason goes to `missing`: a
    /// finished search must not be lost for lack of evidence.
    ///
    /// # Errors
    /// The error of an interruption.
    pub(super) fn or_missing(&mut self, part: Result<String, BisectError>) -> Result<String, BisectError> {
        match part {
            Err(error) if error.blame() != Blame::Interrupted => {
                self.missing.push(error_chain(&error));
                Ok(String::new())
            }
            part => part,
        }
    }
}

impl BisectReport<'_> {
    /// The result in one or two sentences.
    pub(crate) fn summary(&self) -> String {
        let name = |node: usize| self.name(node);
        match self.outcome {
            BisectionResult::Found { changes, error_bound: wrong } => {
                let points: Vec<String> =
                    changes.iter().map(|change| self.change_point_text(change)).collect();
                let several = if changes.len() > 1 {
                    format!("The answer changed {} times. ", changes.len())
                } else {
                    String::new()
                };
                format!(
                    "{several}{}. The probability that this is wrong is at most {:.4}.",
                    points.join(". "),
                    wrong
                )
            }
            BisectionResult::NotMonotonic { with_change: has, without_change: lacks } => format!(
                "The answer changed more than once: {} has the change, but its descendant {} does not, so there is no single culprit.",
                name(*has),
                name(*lacks)
            ),
            BisectionResult::NoChange { runs } => format!(
                "No change found: in {runs} runs {} gave no answer that the other end does not give.",
                name(self.header.plan.bad)
            ),
            BisectionResult::TooRare { bad_runs, runs } => format!(
                "The fault is too rare: {} showed it in {bad_runs} of {runs} runs. Raise --patience.",
                name(self.header.plan.bad)
            ),
            BisectionResult::GoodEndIsBad { end, answer } => format!(
                "{} was given as good but is bad: {answer}. Are the two ends swapped, or does the search need an older good end?",
                name(*end)
            ),
            BisectionResult::Unstable { end, answers } => {
                format!(
                    "{} gave {answers} different answers: the question has no stable answer there.",
                    name(*end)
                )
            }
            BisectionResult::UnusableEnd { end, why } => {
                format!("{} cannot serve as an end: {why}", name(*end))
            }
            BisectionResult::NotReproducible { at, bad_runs, runs } => format!(
                "{} was bad in {bad_runs} of {runs} runs and then never again: the fault is not reproducible there.",
                name(*at)
            ),
            BisectionResult::NoGoodFound => "Every candidate that was tried is bad.".into(),
            BisectionResult::TooManyHostErrors { why } => {
                format!("The host fails too often to continue: {why}")
            }
        }
    }

    fn change_point_text(&self, change: &ChangePoint) -> String {
        let (older, newer) = &self.header.terms;
        let culprit = self.titled(change.culprit());
        let before: Vec<String> = change.parents.iter().map(|&node| self.name(node)).collect();
        let mut text = if change.suspects.len() == 1 {
            format!("{culprit} is the first {newer} candidate; {} before it is {older}", before.join(", "))
        } else {
            let suspects: Vec<String> = change.suspects.iter().map(|&node| self.name(node)).collect();
            format!(
                "the first {newer} candidate is among {}, of which only the last could be tested; {} before them is {older}",
                suspects.join(", "),
                before.join(", ")
            )
        };
        match change.verification {
            Some(flip) => {
                let how = match flip.candidate {
                    Candidate::Applied(_) => "applied alone to the older end, it",
                    _ => "reverted on the newer end, it",
                };
                let does = if flip.confirmed { "changes" } else { "does not change" };
                write!(text, "; {how} {does} the verdict").expect("a string");
            }
            None if self.header.plan.can_verify_culprit => {
                text.push_str("; it could not be reverted or applied on its own")
            }
            None => {}
        }
        if !change.unproven.is_empty() {
            let nodes: Vec<String> = change.unproven.iter().map(|&node| self.name(node)).collect();
            write!(text, "; not proven, because it does not build or boot: {}", nodes.join(", "))
                .expect("a string");
        }
        text
    }

    /// The result and the steps, for a terminal.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.summary(), self.steps(), self.totals())
    }

    fn steps(&self) -> String {
        let mut table = new_table();
        table.set_header(["candidate", "release", "built", "why", "runs", "each", "seen", "notes"]);
        for row in self.rows() {
            let (each, why) = (row.each(), row.why());
            table.add_row([
                row.name,
                row.release,
                row.built,
                why,
                row.runs.to_string(),
                each,
                row.seen.join("\n"),
                row.notes.join("\n"),
            ]);
        }
        table.to_string()
    }

    fn totals(&self) -> String {
        let count =
            |wanted: fn(&LogEntry) -> bool| self.records.iter().filter(|record| wanted(record)).count();
        let boots = count(|record| record.run_folder.is_some());
        let filed = count(|record| {
            matches!(record.event, Some(SearchEvent::Ran { .. })) && record.run_folder.is_none()
        });
        let skipped = count(|record| matches!(record.event, Some(SearchEvent::Skip { .. })));
        let host_errors = count(|record| matches!(record.event, Some(SearchEvent::HostError { .. })));
        let time: u64 = self.records.iter().map(|record| record.milliseconds).sum();
        let time = humantime::format_duration(Duration::from_secs(time / 1000));
        format!(
            "{boots} boots, {filed} recorded results, {skipped} skipped, {host_errors} host errors, {time}"
        )
    }

    /// The full report, in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let BisectRequest { scenario, question, command, plan, notes, .. } = self.header;
        let mut text = format!("# {scenario}: {question}\n\n{}\n\n", self.summary());
        writeln!(text, "```\n{command}\n```\n").expect("a string");
        for note in notes {
            writeln!(text, "- {note}").expect("a string");
        }
        writeln!(
            text,
            "- accepted error {}; proofs by Fisher's exact test at the rate of the bad end, {}\n- {}\n",
            plan.accepted_error,
            self.rate(),
            self.totals()
        )
        .expect("a string");
        for why in &self.evidence.missing {
            writeln!(text, "- not shown: {why}\n").expect("a string");
        }
        text.push_str(
            "| candidate | release | built | why | runs | each | seen | notes |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in self.rows() {
            let cell = |lines: &[String]| lines.join("; ").replace('|', "\\|").replace('\n', " ");
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                row.release,
                row.built,
                row.why(),
                row.runs,
                row.each(),
                cell(&row.seen),
                cell(&row.notes)
            )
            .expect("a string");
        }
        for (title, block) in [
            ("What changed", &self.evidence.commit),
            ("Stacks before", &self.evidence.before),
            ("Stacks after", &self.evidence.after),
        ] {
            if !block.is_empty() {
                writeln!(text, "\n## {title}\n\n```\n{}\n```", block.trim_end()).expect("a string");
            }
        }
        writeln!(text, "\n## Log\n\n```\n{}```", self.log()).expect("a string");
        text
    }

    /// A mail to a maintainer, in the format of regzbot (Documentation/process/handling-regressions.rst).
    pub(crate) fn mail(&self) -> Option<String> {
        let BisectionResult::Found { changes, .. } = self.outcome else { return None };
        let change = changes.last()?;
        // A fix is not a regression.
        if self.searches_fix() {
            return None;
        }
        let culprit = &self.header.names[change.culprit()];
        let parent = &self.header.names[*change.parents.first()?];
        let introduced = match (&self.header.range, change.suspects.as_slice()) {
            (CandidateSource::Git(_), [_]) => culprit.clone(),
            (CandidateSource::Git(_), _) => format!("{parent}..{culprit}"),
            (CandidateSource::Versions(_), _) => format!("{}..{}", version_tag(parent), version_tag(culprit)),
        };
        let mut text = format!(
            "Subject: [REGRESSION] {}: {} since {}\n",
            self.header.scenario,
            self.header.question.fault_description(),
            self.titled(change.culprit())
        );
        let to = if self.evidence.author.is_empty() { "" } else { &self.evidence.author };
        if !to.is_empty() {
            writeln!(text, "To: {to}").expect("a string");
        }
        writeln!(text, "Cc: regressions@lists.linux.dev\n").expect("a string");
        writeln!(text, "{}\n", self.summary()).expect("a string");
        writeln!(text, "Reproduce with kshot, in QEMU:\n\n    {}\n", self.header.command).expect("a string");
        writeln!(
            text,
            "Configuration: {} of kshot's images/kernels.yaml{}\n",
            self.header.configuration_of,
            self.header.config.iter().fold(String::new(), |all, one| all + ", " + one)
        )
        .expect("a string");
        for (title, block) in [("Before", &self.evidence.before), ("After", &self.evidence.after)] {
            if !block.is_empty() {
                writeln!(text, "{title}:\n\n{}\n", indent(block)).expect("a string");
            }
        }
        writeln!(text, "Bisection log:\n\n{}\n#regzbot introduced: {introduced}", indent(&self.log()))
            .expect("a string");
        Some(text)
    }

    /// The evaluated candidates, in the format of `git bisect log`.
    fn log(&self) -> String {
        let mut text = String::new();
        for row in self.rows() {
            if let Some(mark) = &row.mark {
                writeln!(text, "# {mark}: [{}] {}", row.id, row.title).expect("a string");
                writeln!(text, "git bisect {mark} {}", row.id).expect("a string");
            }
        }
        text
    }

    fn rate(&self) -> String {
        let bad = Candidate::Node(self.header.plan.bad);
        let mut answers: Vec<&String> = Vec::new();
        for record in self.records {
            if let Some(SearchEvent::Ran { candidate, purpose: Purpose::ConfirmEnd, answer }) = &record.event
                && *candidate == bad
            {
                answers.push(answer);
            }
        }
        let good = self.good_answers();
        let bad_runs = answers.iter().filter(|answer| !good.contains(answer)).count();
        format!("{bad_runs} of {} runs", answers.len())
    }

    fn rows(&self) -> Vec<CandidateRow> {
        let mut rows: Vec<CandidateRow> = Vec::new();
        let good = self.good_answers();
        for record in self.records.iter().filter(|record| !record.name.is_empty()) {
            let Some(event) = &record.event else { continue };
            let (SearchEvent::Built { candidate, .. }
            | SearchEvent::Ran { candidate, .. }
            | SearchEvent::Skip { candidate, .. }) = event
            else {
                continue;
            };
            let at = match rows.iter().position(|row| row.name == record.name) {
                Some(at) => at,
                None => {
                    rows.push(self.row(record, *candidate));
                    rows.len() - 1
                }
            };
            let row = &mut rows[at];
            match event {
                SearchEvent::Built { image, .. } => {
                    row.release.clone_from(&record.release);
                    row.built = format!("{:.1} s", record.milliseconds as f64 / 1000.0);
                    row.notes.extend(record.notes.clone());
                    row.image.clone_from(image);
                }
                SearchEvent::Ran { purpose, answer, .. } => {
                    row.runs += 1;
                    row.milliseconds += record.milliseconds;
                    row.add_observation(answer);
                    if !row.purposes.contains(purpose) {
                        row.purposes.push(*purpose);
                    }
                    row.is_bad |= !good.contains(answer);
                }
                SearchEvent::Skip { why, .. } => row.notes.push(format!("skipped: {}", shorten_reason(why))),
                SearchEvent::HostError { .. } => {}
            }
        }
        for at in 0..rows.len() {
            if let Some(same) =
                rows[..at].iter().find(|row| !row.image.is_empty() && row.image == rows[at].image)
            {
                let note = format!("no-op: the image of {}", same.name);
                rows[at].notes.push(note);
            }
        }
        let (older, newer) = &self.header.terms;
        let fixed = self.searches_fix();
        for row in rows.iter_mut().filter(|row| row.is_node) {
            row.mark = Some(
                if row.runs == 0 {
                    "skip"
                } else if row.is_bad == fixed {
                    older
                } else {
                    newer
                }
                .to_owned(),
            );
        }
        rows
    }

    fn row(&self, record: &LogEntry, candidate: Candidate) -> CandidateRow {
        let (Candidate::Node(node) | Candidate::Reverted(node) | Candidate::Applied(node)) = candidate;
        CandidateRow {
            name: record.name.clone(),
            id: self.header.names[node].clone(),
            title: self.header.titles.get(node).cloned().unwrap_or_default(),
            is_node: matches!(candidate, Candidate::Node(_)),
            ..CandidateRow::default()
        }
    }

    /// The answers that count as good: those of the plan, otherwise those of the good ends.
    fn good_answers(&self) -> Vec<String> {
        let plan = &self.header.plan;
        if !plan.good_answers.is_empty() {
            return plan.good_answers.iter().cloned().collect();
        }
        let runs = |wanted: &[Purpose], node: Option<usize>| -> Vec<(usize, String)> {
            let runs = self.records.iter().filter_map(|record| match &record.event {
                Some(SearchEvent::Ran { candidate: Candidate::Node(at), purpose, answer })
                    if *at != plan.bad && wanted.contains(purpose) && node.is_none_or(|node| node == *at) =>
                {
                    Some((*at, answer.clone()))
                }
                _ => None,
            });
            runs.collect()
        };
        let ends = [Purpose::ConfirmEnd, Purpose::FindGoodEnd];
        if !plan.good.is_empty() {
            return runs(&ends, None).into_iter().map(|(_, answer)| answer).collect();
        }
        // The search for a good end passes bad nodes; the last node that it reached is the good one.
        let end = runs(&[Purpose::FindGoodEnd], None).last().map(|(node, _)| *node);
        end.map_or(Vec::new(), |end| runs(&ends, Some(end)).into_iter().map(|(_, answer)| answer).collect())
    }

    /// Whether the fault is in the older end, so that the search finds the fix.
    pub(crate) fn searches_fix(&self) -> bool {
        let plan = &self.header.plan;
        match plan.good.first() {
            Some(&good) => plan.graph.is_ancestor(plan.bad, good),
            None => plan.bad == 0,
        }
    }

    fn name(&self, node: usize) -> String {
        super::kernel_tester::short_id(&self.header.names[node])
    }

    fn titled(&self, node: usize) -> String {
        match self.header.titles.get(node) {
            Some(title) if !title.is_empty() => format!("{} (\"{title}\")", self.name(node)),
            _ => self.name(node),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct CandidateRow {
    name: String,
    id: String,
    title: String,
    release: String,
    built: String,
    image: String,
    purposes: Vec<Purpose>,
    runs: u32,
    milliseconds: u64,
    seen: Vec<String>,
    counts: Vec<(String, u32)>,
    notes: Vec<String>,
    is_bad: bool,
    is_node: bool,
    mark: Option<String>,
}

impl CandidateRow {
    /// The purposes that a candidate was run for.
    fn why(&self) -> String {
        self.purposes.iter().map(|purpose| purpose.name()).collect::<Vec<_>>().join(", ")
    }

    /// The average duration of a run.
    fn each(&self) -> String {
        let mean = self.milliseconds.checked_div(u64::from(self.runs));
        mean.map_or_else(String::new, |mean| format!("{:.1} s", mean as f64 / 1000.0))
    }

    fn add_observation(&mut self, answer: &str) {
        match self.counts.iter_mut().find(|(one, _)| one == answer) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((answer.into(), 1)),
        }
        self.seen = self.counts.iter().map(|(answer, count)| format!("{answer} x {count}")).collect();
    }
}

fn indent(text: &str) -> String {
    text.lines().fold(
        String::new(),
        |all, line| if line.is_empty() { all + "\n" } else { all + "    " + line + "\n" },
    )
}

/// The tag of a version in the kernel's repository; a kernel of the catalogue has its name alone.
fn version_tag(name: &str) -> String {
    if UpstreamVersion::parse(name).is_some() { format!("v{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests;

//! The second half of the walk: from captures to a verdict. It needs no guest and can be repeated from a run
//! folder at any time.

use kshot_stack::snapshot;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::RunError;
use crate::artifacts::ArtifactsError;
use crate::baseline;
use crate::scenario::Scenario;
use kshot_guest::host::FileError;
use kshot_guest::kernel::Kernel;
use kshot_guest::probe::{Capture, ProbeSpec};
use kshot_stack::arch::ArchRow;
use kshot_stack::blame::error_chain;
use kshot_stack::document::{ConsoleReport, ProbeResult, Reason, RunDocument, Verdict};
use kshot_stack::results::{ParsedProbe, probe_results};
use kshot_stack::stack::ParsedCapture;
use kshot_stack::verdict::{self, Evidence, Judgement};

/// The size of the write buffer for printed captures.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct JudgedScenario<'a> {
    pub(super) scenario: &'a Scenario,
    /// For each of its probes, why it was left out.
    pub(super) left_out: &'a [Option<String>],
}

/// A run that was judged.
#[derive(Debug)]
pub(super) struct JudgedRun {
    pub(super) judgement: Judgement,
    /// The parsed captures, with addresses.
    pub(super) recorded: Vec<ParsedProbe>,
    pub(super) probes: Vec<ProbeResult>,
}

impl JudgedRun {
    /// The judgement of a run that a guest error ended early: inconclusive.
    pub(super) fn inconclusive(fault: &dyn Error) -> Self {
        let why = vec![Reason::GuestFailed { error: error_chain(fault) }];
        let judgement = Judgement { verdict: Verdict::Inconclusive, reasons: why };
        Self { judgement, recorded: Vec::new(), probes: Vec::new() }
    }
}

/// Judges a run folder again from its raw captures; returns the document as it would be today.
///
/// # Errors
/// A capture or a snapshot cannot be read.
pub fn rejudge(
    document: &RunDocument,
    scenario: &Scenario,
    kernel: &Kernel,
    folder: &Path,
    snapshots: &Path,
) -> Result<RunDocument, RunError> {
    // A run that ended before anything could be judged keeps its verdict.
    if document.probes.is_empty() {
        return Ok(document.clone());
    }
    let mut captures = Vec::new();
    for spec in &scenario.probes {
        let capture = spec.find_capture(folder);
        let had_stacks =
            document.probes.iter().any(|probe| probe.name == spec.name && !probe.stacks.is_empty());
        if capture.is_none() && had_stacks {
            return Err(ArtifactsError::NoCapture { folder: folder.into(), probe: spec.name.clone() }.into());
        }
        captures.extend(capture);
    }
    let left_out = |spec: &ProbeSpec| {
        document
            .probes
            .iter()
            .find(|probe| probe.name == spec.name)
            .and_then(|probe| probe.left_out_because.clone())
    };
    let left_out: Vec<_> = scenario.probes.iter().map(left_out).collect();
    let asked = JudgedScenario { scenario, left_out: &left_out };
    let judged = judge(asked, kernel, &captures, &document.console, snapshots)?;
    Ok(RunDocument {
        verdict: judged.judgement.verdict,
        reasons: judged.judgement.reasons,
        probes: judged.probes,
        ..document.clone()
    })
}

/// Judges captures: parse, normalise, measure, compare, combine.
pub(super) fn judge(
    asked: JudgedScenario<'_>,
    kernel: &Kernel,
    captures: &[Capture],
    console: &[ConsoleReport],
    snapshots: &Path,
) -> Result<JudgedRun, RunError> {
    let JudgedScenario { scenario, left_out } = asked;
    let mut recorded = Vec::new();
    for probe in &scenario.probes {
        let mut parsed = ParsedCapture::default();
        for capture in captures.iter().filter(|capture| capture.probe == probe.name) {
            if let Some(more) = parse(probe, capture, kernel.arch.row())? {
                parsed = more;
            }
        }
        recorded.push(ParsedProbe { name: probe.name.clone(), kind: probe.kind.word().into(), parsed });
    }
    let mut probes = probe_results(&recorded, kernel.arch.row());
    for (result, why) in probes.iter_mut().zip(left_out) {
        result.left_out_because.clone_from(why);
    }
    let comparisons = baseline::of_run(snapshots, &scenario.id, &kernel.name, &probes)
        // A kernel of the user's own is judged by the claims alone.
        .filter(|_| kernel.in_catalogue)
        .map(|(path, probe)| {
            Ok((probe.name.clone(), baseline::compare(&path, &snapshot::snapshot_text(probe))?))
        })
        .collect::<Result<Vec<_>, RunError>>()?;
    let known: Vec<_> =
        scenario.known_faults.iter().filter(|known| known.applies_to(&kernel.name)).cloned().collect();
    let evidence = Evidence {
        claims: &scenario.claims,
        console_claims: &scenario.console_claims,
        known_faults: &known,
        probes: &probes,
        console,
        comparisons: &comparisons,
    };
    Ok(JudgedRun { judgement: verdict::judge(evidence), recorded, probes })
}

/// The stacks of a capture; `None` for what is kept as evidence only.
fn parse(spec: &ProbeSpec, capture: &Capture, row: &ArchRow) -> Result<Option<ParsedCapture>, RunError> {
    let parsed = spec.parse(capture, row).map_err(FileError::on("read", &capture.path));
    Ok(parsed.map_err(ArtifactsError::from)?)
}

/// Prints each binary capture beside it.
pub(super) fn print_captures(scenario: &Scenario, captures: &[Capture]) -> Result<(), ArtifactsError> {
    for spec in &scenario.probes {
        for capture in captures.iter().filter(|capture| capture.probe == spec.name) {
            let Some(text) = spec.printed(capture) else { continue };
            let print = || {
                let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, File::create(&text.path)?);
                spec.print(capture, &mut out)?;
                out.flush()
            };
            print().map_err(FileError::on("write", &text.path))?;
        }
    }
    Ok(())
}

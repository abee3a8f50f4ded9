//! `kshot record`: claims and snapshots out of a run, for a person to look at and to accept.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::select::Selector;
use super::{CommandError, Streams, paths};
use crate::baseline::{self, Review, SnapshotInfo};
use crate::run::{self, RunOptions, StartPolicy};
use crate::workspace::Workspace;
use crate::{report, scenario::Scenario};
use kshot_guest::host::FileError;
use kshot_guest::records;
use kshot_stack::document::{Fidelity, ProbeResult, RunDocument, StackResult, Verdict};
use kshot_stack::exit::ExitCode;
use kshot_stack::snapshot::{Comparison, snapshot_text};
use kshot_stack::stack::State;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario, by id
    scenario: String,
    /// The kernel, by name; provisioned if necessary. Default: the scenario's first
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,
    /// Accept the stacks shown as the snapshots. Only for stacks that you have read one by one
    #[arg(long)]
    accept: bool,
    /// Create run folders below DIR instead of ~/.local/state/kshot/runs
    #[arg(long, value_name = "DIR", value_parser = paths::folder())]
    out: Option<PathBuf>,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.out.as_ref())?;
        let id = Scenario::resolve_id(&select.workspace.scenarios(), &self.scenario)?;
        let scenario = select.scenario(&id)?;
        let option = self.kernel.as_ref().map(|name| format!(" --kernel {name}")).unwrap_or_default();
        let name = match self.kernel {
            Some(name) => name,
            None => select.kernel_names(&scenario.kernels)?.remove(0),
        };
        let kernel = select.single_kernel(&name, &streams.progress)?;
        if !kernel.in_catalogue {
            return Err(CommandError::usage(
                format!("{name} is not in the catalogue, so it has no snapshots"),
                "give it a name in a workspace of your own: kshot init",
            ));
        }
        // A cold and a warm start must give the same stacks before they are recorded.
        let options = RunOptions { start_policy: StartPolicy::Both, ..RunOptions::default() };
        let context = select.context(&kernel, &streams.progress);
        let outcome = run::run(context, &scenario, &options)?;
        let document = &outcome.document;
        if self.accept {
            // The verdict is printed once the snapshots exist.
            writeln!(streams.out, "{} on {} ({})", document.scenario, kernel.name, kernel.release)?;
            write!(streams.out, "{}", report::stacks_table(document))?;
        } else {
            write!(streams.out, "{}", report::run_table(document))?;
        }
        writeln!(streams.out, "artifacts: {}", outcome.folder.display())?;
        let none_because = match document.verdict {
            Verdict::Unstable => {
                Some("the booted run and the restored run disagree: `kshot run --repeat 10` shows how often")
            }
            _ if document.probes.is_empty() => Some("the run had no stacks: the verdict says why"),
            _ => None,
        };
        if let Some(why) = none_because {
            streams.progress.print_line(&format!("no snapshot is proposed: {why}"));
            return Ok(ExitCode::CannotTell);
        }
        let review = if self.accept { Review::Accepted } else { Review::Pending };
        let written = write_snapshots(&select.workspace, document, review, streams.out)?;
        let claims =
            write_claims(&select.workspace, &scenario, &select.catalogue.names(), document, streams.out)?;
        if self.accept {
            let scenario = select.scenario(&id)?;
            let judged =
                run::rejudge(document, &scenario, &kernel, &outcome.folder, &select.workspace.snapshots())?;
            writeln!(streams.out, "verdict: {}", judged.verdict.name())?;
            for why in &judged.reasons {
                writeln!(streams.out, "{}", why.indented())?;
            }
            streams.out.flush()?;
            return Ok(ExitCode::from(judged.verdict));
        }
        streams.out.flush()?;
        if written == 0 && !claims {
            streams.progress.print_line("all snapshots are up to date");
        } else {
            streams
                .progress
                .print_line(&format!("review the stacks above, then: kshot record {id}{option} --accept"));
        }
        Ok(ExitCode::Match)
    }
}

/// Prints each stack that has no snapshot yet, and writes the snapshot. Returns the number of probes that had
/// such stacks.
fn write_snapshots(
    workspace: &Workspace,
    document: &RunDocument,
    review: Review,
    out: &mut dyn Write,
) -> Result<usize, CommandError> {
    let info = SnapshotInfo::of(document);
    let mut written = 0;
    let snapshots = workspace.snapshots();
    for (place, probe) in
        baseline::of_run(&snapshots, &document.scenario, &document.kernel.name, &document.probes)
    {
        let text = snapshot_text(probe);
        match baseline::compare(&place, &text)? {
            Comparison::Same => continue,
            Comparison::Missing => writeln!(out, "\n{}:\n{text}", probe.name)?,
            Comparison::Drift { diff, .. } => writeln!(out, "\n{}:\n{diff}", probe.name)?,
        }
        let file = baseline::write(&place, &info, &text, review)?;
        writeln!(out, "wrote {}", file.display())?;
        written += 1;
    }
    Ok(written)
}

/// Adds claims to a scenario that has none: for each probe whose stacks equal the truth's, that they do.
/// Returns whether claims were added.
fn write_claims(
    workspace: &Workspace,
    scenario: &Scenario,
    kernels: &[&str],
    document: &RunDocument,
    out: &mut dyn Write,
) -> Result<bool, CommandError> {
    let truth = document.probes.iter().find(|probe| probe.is_truth() && probe.was_recorded());
    let complete = |stack: &&StackResult| stack.state == State::Complete && stack.frames.len() > 1;
    let stack = truth.and_then(|truth| truth.stacks.iter().filter(complete).max_by_key(|stack| stack.count));
    let (Some(truth), Some(stack)) = (truth, stack) else { return Ok(false) };
    let path = workspace.scenarios().join(format!("{}.yaml", scenario.id));
    let mut file = fs::read_to_string(&path).map_err(FileError::on("read", &path))?;
    // Never add to claims that a person wrote, not even to an empty list.
    if file.lines().any(|line| line.starts_with("claims:")) {
        return Ok(false);
    }
    let line_end = if file.contains("\r\n") { "\r\n" } else { "\n" };
    if !file.ends_with('\n') {
        file.push_str(line_end);
    }
    let mut text = String::from("claims:\n");
    let count = stack.count;
    let through = serde_json::json!(stack.frames[..stack.frames.len() - 1]);
    for probe in document.probes.iter().filter(|probe| probe.was_recorded()) {
        let equal = if probe.name == truth.name { count } else { exact_stacks(probe) };
        if equal == count {
            let exact = if probe.name == truth.name { "" } else { ", exact: true" };
            text.push_str(&format!(
                "  - {{ probe: {}, through: {through}, stacks: {equal}, complete: true{exact} }}\n",
                probe.name
            ));
        } else {
            text.push_str(&format!(
                "  # {}: {equal} of {} stacks equal the truth's. Add a claim, and a `known` entry with the reason.\n",
                probe.name, count
            ));
        }
    }
    let with_claims = file + &text.replace('\n', line_end);
    if let Err(error) = Scenario::parse(&scenario.id, &path.to_string_lossy(), &with_claims, kernels) {
        // `...` at its end, an indented document, or another form of YAML than `key:` lines.
        writeln!(out, "\ncannot edit {} automatically ({error}); add this by hand:\n{text}", path.display())?;
        return Ok(false);
    }
    // Through a link, and with the mode that the file has.
    let target = path.canonicalize().map_err(FileError::on("find", &path))?;
    let mode = fs::metadata(&target).map_err(FileError::on("read", &target))?.permissions();
    records::replace(&target, with_claims.as_bytes()).map_err(FileError::on("write", &target))?;
    fs::set_permissions(&target, mode).map_err(FileError::on("write", &target))?;
    writeln!(out, "\nadded to {}:\n{text}", path.display())?;
    Ok(true)
}

/// How many stacks of a probe are those of the truth, no frame more and no frame less.
fn exact_stacks(probe: &ProbeResult) -> u64 {
    let is_exact = |stack: &&StackResult| {
        let all = |fidelity: Fidelity| fidelity.matched_frames == fidelity.reference_frames;
        stack.state == State::Complete && stack.fidelity.is_some_and(all) && stack.differences.is_empty()
    };
    probe.stacks.iter().filter(is_exact).map(|stack| stack.count).sum()
}

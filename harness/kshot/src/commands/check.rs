//! `kshot check`: judges every scenario on every provisioned kernel against the snapshots, without a test
//! runner.

use super::select::{KernelChoice, Selector};
use super::{CommandError, Format, RunArgs, Streams, pairs, prune_runs};
use crate::artifacts::RunTime;
use crate::report;
use crate::run::RunOptions;
use kshot_stack::document::Verdict;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenarios, by id or glob; default: all
    scenarios: Vec<String>,
    /// Kernels, by name, glob or file, each with the scenarios that are for it; default: all that are
    /// provisioned
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    #[command(flatten)]
    common: RunArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.common.output.out.as_ref())?;
        let began = RunTime::now();
        let mut pairs = Vec::new();
        let mut missing = Vec::new();
        let mut not_meant = Vec::new();
        for id in select.scenario_ids(&self.scenarios)? {
            let scenario = select.scenario(&id)?;
            let its_own = select.kernel_names(&scenario.kernels)?;
            for choice in select.kernels(&scenario, &self.kernels)? {
                if let Some(name) = choice.not_among(&its_own) {
                    not_meant.push((id.clone(), name.to_owned()));
                    continue;
                }
                match choice {
                    KernelChoice::Provisioned(kernel) => pairs.push((scenario.clone(), *kernel)),
                    KernelChoice::NotProvisioned(name) => missing.push((id.clone(), name)),
                }
            }
        }
        let asked_for = !self.kernels.is_empty();
        if let (Some((_, name)), true) = (missing.first(), pairs.is_empty() || asked_for) {
            let what = if asked_for {
                format!("kernel `{name}` is not provisioned")
            } else {
                "no kernel of these scenarios is provisioned".into()
            };
            return Err(CommandError::usage(what, select.how_to_get(name)));
        }
        if let (Some((id, name)), true) = (not_meant.first(), pairs.is_empty()) {
            return Err(CommandError::usage(
                format!("none of these scenarios lists {name} in its `kernels`"),
                format!("to judge it by the claims, without a snapshot: kshot run {id} --kernel {name}"),
            ));
        }
        let options = RunOptions { start_policy: self.common.starts(), ..RunOptions::default() };
        let jobs = self.common.jobs(&select.workspace);
        let mut documents = Vec::new();
        let exits =
            pairs::run_pairs(&select.workspace, pairs, &options, jobs, streams, |number, outcome, out| {
                if self.common.output.format == Format::Json {
                    writeln!(out, "{}", outcome.document.to_json_line())?;
                    out.flush()?;
                }
                documents.push((number, outcome.document));
                Ok(())
            });
        prune_runs(&select.workspace, &began, &streams.progress);
        documents.sort_by_key(|(number, _)| *number);
        let documents: Vec<_> = documents.into_iter().map(|(_, document)| document).collect();
        if self.common.output.format == Format::Table {
            write!(streams.out, "{}", report::runs_table(&documents))?;
            for document in documents.iter().filter(|document| document.verdict != Verdict::Match) {
                writeln!(streams.out, "\n{} on {}:", document.scenario, document.kernel.name)?;
                for why in &document.reasons {
                    writeln!(streams.out, "{}", why.indented())?;
                }
            }
            for (id, name) in not_meant {
                writeln!(streams.out, "not checked: {id} does not list {name} in its `kernels`")?;
            }
            for (id, name) in missing {
                writeln!(streams.out, "not checked: {id} on {name} ({})", select.how_to_get(&name))?;
            }
        }
        Ok(ExitCode::worst(exits?))
    }
}

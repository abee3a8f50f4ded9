//! `kshot run`: boots, replays and judges.

use std::io::Write;

use super::select::{KernelChoice, Selector};
use super::{Accel, CommandError, Format, RunArgs, Streams, pairs, prune_runs};
use crate::artifacts::RunTime;
use crate::report;
use crate::run::{self, RunOptions, RunOutcome};
use crate::scenario::Scenario;
use kshot_guest::kernel::Kernel;
use kshot_stack::exit::ExitCode;
use kshot_stack::text::quote;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenarios, by id (tunsetiff/perf_probe), glob, or file (./mine.yaml)
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// A catalogue kernel, a glob, or a build folder or file (./vmlinux, ./Image.gz); provisioned if necessary.
    /// Default: the scenario's provisioned kernels
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Never prune these run folders
    #[arg(long)]
    keep: bool,
    /// Print the exact QEMU command line and boot nothing
    #[arg(long)]
    dry_run: bool,
    /// Run each pair N times; differing verdicts are `unstable`
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// What runs the guest's code
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    /// Record with only this probe of the scenario, and judge by claims alone, without snapshots
    #[arg(long = "probe", value_name = "PROBE")]
    probes: Vec<String>,
    #[command(flatten)]
    common: RunArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.common.output.out.as_ref())?;
        let began = RunTime::now();
        let mut pairs = Vec::new();
        // All errors of the command line are reported before the first boot.
        for id in select.scenario_ids(&self.scenarios)? {
            let scenario = select.scenario(&id)?.with_probes(&self.probes)?;
            for kernel in self.kernels(&select, &scenario, streams)? {
                let kernel = if self.probes.is_empty() { kernel } else { kernel.without_snapshots() };
                pairs.push((scenario.clone(), kernel));
            }
        }
        if self.dry_run {
            for (scenario, kernel) in pairs {
                let context = select.context(&kernel, &streams.progress);
                let argv = run::command_line(context, &scenario, self.accel.into())?;
                match self.common.output.format {
                    Format::Json => {
                        let (scenario, kernel) = (&scenario.id, &kernel.name);
                        let document =
                            serde_json::json!({ "scenario": scenario, "kernel": kernel, "argv": argv });
                        writeln!(streams.out, "{document}")?;
                    }
                    Format::Table => {
                        let words: Vec<_> = argv.iter().map(|word| quote(word)).collect();
                        writeln!(streams.out, "{}", words.join(" "))?;
                    }
                }
            }
            return Ok(ExitCode::Match);
        }
        let options = RunOptions {
            keep: self.keep,
            repeat: self.repeat,
            start_policy: self.common.starts(),
            accelerator: self.accel.into(),
        };
        let jobs = self.common.jobs(&select.workspace);
        let print = |_, outcome: RunOutcome, out: &mut dyn Write| self.print(&outcome, out);
        let exits = pairs::run_pairs(&select.workspace, pairs, &options, jobs, streams, print)?;
        prune_runs(&select.workspace, &began, &streams.progress);
        Ok(ExitCode::worst(exits))
    }

    fn kernels(
        &self,
        select: &Selector,
        scenario: &Scenario,
        streams: &Streams<'_>,
    ) -> Result<Vec<Kernel>, CommandError> {
        let mut ready = Vec::new();
        let mut missing = Vec::new();
        let choices = select.kernels(scenario, &self.kernels)?;
        let its_own = select.kernel_names(&scenario.kernels)?;
        for name in choices.iter().filter_map(|choice| choice.not_among(&its_own)) {
            let line = format!("{} does not list {name} in its `kernels`", scenario.id);
            streams.progress.print_line(&line);
        }
        let to_get: Vec<&str> = choices.iter().filter_map(KernelChoice::not_provisioned).collect();
        if to_get.len() > 1 && !self.kernels.is_empty() && !self.dry_run {
            let line =
                format!("{} kernels are downloaded or built first: {}", to_get.len(), to_get.join(", "));
            streams.progress.print_line(&line);
        }
        for choice in choices {
            match choice {
                KernelChoice::NotProvisioned(name) if self.kernels.is_empty() => missing.push(name),
                KernelChoice::NotProvisioned(name) if self.dry_run => {
                    return Err(CommandError::usage(
                        format!("kernel `{name}` is not provisioned, and a dry run downloads nothing"),
                        select.how_to_get(&name),
                    ));
                }
                choice => ready.push(choice.provision(select, &streams.progress)?),
            }
        }
        if ready.is_empty() {
            return Err(CommandError::usage(
                format!("no kernel of {} is provisioned: {}", scenario.id, missing.join(", ")),
                missing.first().map_or_else(String::new, |name| select.how_to_get(name)),
            ));
        }
        if !missing.is_empty() {
            streams.progress.print_line(&format!(
                "{}: not provisioned, left out: {}",
                scenario.id,
                missing.join(", ")
            ));
        }
        Ok(ready)
    }

    fn print(&self, outcome: &RunOutcome, out: &mut dyn Write) -> Result<(), CommandError> {
        match self.common.output.format {
            Format::Json => writeln!(out, "{}", outcome.document.to_json_line())?,
            Format::Table => {
                write!(out, "{}", report::run_table(&outcome.document))?;
                writeln!(out, "artifacts: {}\n", outcome.folder.display())?;
            }
        }
        // Each result is printed at once, not with the last one.
        Ok(out.flush()?)
    }
}

//! `kshot run`: boot, replay, judge.

use super::select::{self, Choice};
use super::{CommandError, Format, RunArgs, Streams, workspace};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::kernel::{Catalogue, Kernel};
use crate::run::{self, Options, Outcome};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use crate::{artifacts, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenarios, by id (tunsetiff/perf_probe) or glob
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// A kernel of the catalogue, a glob, or a file (./vmlinux); provisioned if need be. Without it, those of
    /// the scenario's kernels that are provisioned
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Never prune these run folders
    #[arg(long)]
    keep: bool,
    /// Show the exact QEMU command line and boot nothing
    #[arg(long)]
    dry_run: bool,
    /// Run each pair N times; differing verdicts are `unstable`
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    #[command(flatten)]
    common: RunArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<Exit, CommandError> {
        let workspace = workspace(self.common.out.as_ref())?;
        let catalogue = Catalogue::load(&workspace.images().kernels_yaml())?;
        let mut pairs = Vec::new();
        // Every fault of the command line shows before the first boot.
        for id in select::ids(&workspace, &self.scenarios)? {
            let scenario = select::scenario(&workspace, &catalogue, &id)?;
            for kernel in self.kernels(&workspace, &catalogue, &scenario, streams)? {
                pairs.push((scenario.clone(), kernel));
            }
        }
        let options = Options { keep: self.keep, repeat: self.repeat };
        let mut exits = Vec::new();
        for (scenario, kernel) in pairs {
            if self.dry_run {
                writeln!(
                    streams.out,
                    "{}",
                    run::command_line(&workspace, &scenario, &kernel, &streams.progress)?
                )?;
                continue;
            }
            match run::run(&workspace, &scenario, &kernel, &options, &streams.progress) {
                Ok(outcome) => {
                    self.print(&outcome, streams)?;
                    exits.push(Exit::from(outcome.document.verdict));
                }
                // One host fault need not lose the results of the other pairs, but it decides the exit code.
                Err(error) if error.blame() == crate::fault::Blame::Infra => {
                    streams.progress.note(super::render(&error.into()).trim_end());
                    exits.push(Exit::Infra);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if workspace.runs.is_dir() {
            artifacts::prune(&workspace.runs)?;
        }
        Ok(Exit::worst(exits))
    }

    fn kernels(
        &self,
        workspace: &Workspace,
        catalogue: &Catalogue,
        scenario: &Scenario,
        streams: &Streams<'_>,
    ) -> Result<Vec<Kernel>, CommandError> {
        let mut ready = Vec::new();
        let mut missing = Vec::new();
        for choice in select::kernels(workspace, catalogue, scenario, &self.kernels)? {
            match choice {
                Choice::Ready(kernel) => ready.push(kernel),
                Choice::Missing(name) if self.kernels.is_empty() => missing.push(name),
                Choice::Missing(name) => {
                    ready.push(select::provision(workspace, catalogue, &name, &streams.progress)?);
                }
            }
        }
        if ready.is_empty() {
            return Err(CommandError::Usage {
                message: format!("no kernel of {} is provisioned: {}", scenario.id, missing.join(", ")),
                hint: format!("kshot provision {}", missing.first().map_or("", String::as_str)),
            });
        }
        if !missing.is_empty() {
            streams.progress.note(&format!(
                "{}: not provisioned, left out: {}",
                scenario.id,
                missing.join(", ")
            ));
        }
        Ok(ready)
    }

    fn print(&self, outcome: &Outcome, streams: &mut Streams<'_>) -> Result<(), CommandError> {
        match self.common.format {
            Format::Json => writeln!(streams.out, "{}", outcome.document.to_json_line())?,
            Format::Table => {
                write!(streams.out, "{}", report::table(&outcome.document))?;
                writeln!(streams.out, "artifacts: {}\n", outcome.folder.display())?;
            }
        }
        // A result is out when it is there, not when the last of many is.
        Ok(streams.out.flush()?)
    }
}

//! `kshot compare`: shows the stacks of one scenario on two kernels, side by side.

use super::{CommandError, Format, OutputArgs, Streams, prune_runs, select, workspace};
use crate::artifacts::RunTime;
use crate::report::RunComparison;
use crate::run::{self, RunOptions};
use crate::scenario::Scenario;
use kshot_guest::kernel::Kernel;
use kshot_stack::document::RunDocument;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario's id
    scenario: String,
    /// The kernel on the left: a catalogue name or a file (./vmlinux); it is provisioned if necessary
    left: String,
    /// The kernel on the right
    right: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(self.output.out.as_ref())?;
        let catalogue = workspace.catalogue()?;
        let id = Scenario::resolve_id(&workspace.scenarios(), &self.scenario)?;
        let scenario = select::scenario(&workspace, &catalogue, &id)?;
        let left = select::single_kernel(&workspace, &catalogue, &self.left, &streams.progress)?;
        let right = select::single_kernel(&workspace, &catalogue, &self.right, &streams.progress)?;
        let began = RunTime::now();
        let run = |kernel: &Kernel| -> Result<RunDocument, CommandError> {
            let options = RunOptions::default();
            Ok(run::run(&workspace, &scenario, kernel, &options, &streams.progress)?.document)
        };
        let sides = RunComparison::compare(run(&left)?, run(&right)?);
        prune_runs(&workspace, &began, &streams.progress);
        match self.output.format {
            Format::Json => writeln!(streams.out, "{}", sides.to_json_line())?,
            Format::Table => write!(streams.out, "{}", sides.text())?,
        }
        Ok(match sides.same {
            Some(true) => ExitCode::Match,
            Some(false) => ExitCode::Drift,
            None => ExitCode::CannotTell,
        })
    }
}

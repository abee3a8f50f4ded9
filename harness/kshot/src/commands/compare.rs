//! `kshot compare`: shows the stacks of one scenario on two kernels, side by side.

use super::select::Selector;
use super::{CommandError, Format, OutputArgs, Streams, prune_runs, workspace};
use crate::artifacts::RunTime;
use crate::report::RunComparison;
use crate::run::{self, RunContext, RunOptions};
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
        let select = Selector { workspace: &workspace, catalogue: &catalogue };
        let id = Scenario::resolve_id(&workspace.scenarios(), &self.scenario)?;
        let scenario = select.scenario(&id)?;
        let left = select.single_kernel(&self.left, &streams.progress)?;
        let right = select.single_kernel(&self.right, &streams.progress)?;
        let began = RunTime::now();
        let run = |kernel: &Kernel| -> Result<RunDocument, CommandError> {
            let context = RunContext { workspace: &workspace, kernel, progress: &streams.progress };
            Ok(run::run(context, &scenario, &RunOptions::default())?.document)
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

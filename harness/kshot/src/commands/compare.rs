//! `kshot compare`: shows the stacks of one scenario on two kernels, side by side.

use super::select::Selector;
use super::{CommandError, Format, OutputArgs, Streams, prune_runs};
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
        let select = Selector::open(self.output.out.as_ref())?;
        let id = Scenario::resolve_id(&select.workspace.scenarios(), &self.scenario)?;
        let scenario = select.scenario(&id)?;
        let left = select.single_kernel(&self.left, &streams.progress)?;
        let right = select.single_kernel(&self.right, &streams.progress)?;
        let began = RunTime::now();
        let run = |kernel: &Kernel| -> Result<RunDocument, CommandError> {
            let context = select.context(kernel, &streams.progress);
            Ok(run::run(context, &scenario, &RunOptions::default())?.document)
        };
        let sides = RunComparison::compare(run(&left)?, run(&right)?);
        prune_runs(&select.workspace, &began, &streams.progress);
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

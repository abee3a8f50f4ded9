//! `kshot stack`: the stacks of one function, by every reporter beside the truth, without a scenario's file.

use super::{Accel, CommandError, Format, RunArgs, Streams, select, workspace};
use crate::report;
use crate::run::{self, RunError, RunOptions};
use crate::survey::{self, Question, Situation};
use kshot_guest::kernel::KernelError;
use kshot_stack::document::Verdict;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The function
    function: String,
    /// The kernel: a name of the catalogue, a build folder (../linux) or a file (./vmlinux)
    #[arg(long, value_name = "KERNEL")]
    kernel: String,
    /// A shell command in the guest that calls the function
    #[arg(long = "while", value_name = "COMMAND")]
    command: String,
    /// Run the command N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// What runs the guest's code
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    #[command(flatten)]
    common: RunArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(self.common.out.as_ref())?;
        let catalogue = workspace.catalogue()?;
        let situation = Situation {
            name: "stack".into(),
            function: self.function,
            command: self.command,
            repeat: self.repeat,
            setup: None,
            requires: Vec::new(),
            without: Vec::new(),
            undo: None,
            hits: 100,
            tracepoint: None,
            sleeper: None,
            console: false,
        };
        let questions = survey::questions(std::slice::from_ref(&situation), &catalogue.names())?;
        let kernel = select::single_kernel(&workspace, &catalogue, &self.kernel, &streams.progress)?;
        let kernel = kernel.without_snapshots();
        let options = RunOptions {
            start_policy: self.common.starts(),
            accelerator: self.accel.into(),
            ..RunOptions::default()
        };
        let (mut exits, mut refused) = (Vec::new(), None);
        for Question { scenario, .. } in questions {
            let outcome = match run::run(&workspace, &scenario, &kernel, &options, &streams.progress) {
                // A kernel need not have every reporter.
                Err(RunError::Kernel(error @ KernelError::MissingOptions { .. })) => {
                    streams.progress.print_line(&format!("left out: {}: {error}", scenario.summary));
                    refused = Some(error);
                    continue;
                }
                outcome => outcome?,
            };
            let document = &outcome.document;
            match self.common.format {
                Format::Json => writeln!(streams.out, "{}", document.to_json_line())?,
                Format::Table => {
                    writeln!(streams.out, "{}: {} ({})", scenario.summary, kernel.name, kernel.release)?;
                    write!(streams.out, "{}", report::stacks_table(document))?;
                    if document.verdict != Verdict::Match {
                        document.reasons.iter().try_for_each(|why| writeln!(streams.out, "  {why}"))?;
                    }
                    writeln!(streams.out, "artifacts: {}\n", outcome.folder.display())?;
                }
            }
            streams.out.flush()?;
            exits.push(ExitCode::from(document.verdict));
        }
        match refused {
            Some(error) if exits.is_empty() => Err(RunError::from(error).into()),
            _ => Ok(ExitCode::worst(exits)),
        }
    }
}
